"""Depth and normals on disk: what other readers of the convention see, round trips, and messages."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.depth_normals import FARTHEST, read_depth, read_normals, save_depth, save_normals


def test_depth_is_16_bit_in_thousandths(tmp_path: Path) -> None:
    depth = np.random.default_rng(0).uniform(1.5, 4.0, (12, 20)).astype(np.float32)
    depth[:3] = 0
    depth[5, 5] = FARTHEST
    save_depth(tmp_path / "depth.png", depth)
    with Image.open(tmp_path / "depth.png") as image:
        assert image.mode.startswith("I;16") and image.size == (20, 12)
        assert image.getpixel((7, 8)) == round(float(depth[8, 7]) * 1000)
    back = read_depth(tmp_path / "depth.png")
    assert back.dtype == np.float32 and np.abs(back - depth).max() < 0.00051 and (back[:3] == 0).all()


def test_normals_are_the_usual_colours_and_black_is_nothing(tmp_path: Path) -> None:
    normals = np.random.default_rng(0).normal(size=(30, 40, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[0, 0], normals[0, 1], normals[0, 2] = (-1, 0, 0), (0, 1, 0), (0, 0, 0)
    save_normals(tmp_path / "normal.png", normals)
    with Image.open(tmp_path / "normal.png") as image:
        assert [image.getpixel((x, 0)) for x in range(3)] == [(0, 128, 128), (128, 255, 128), (0, 0, 0)]
    back = read_normals(tmp_path / "normal.png")
    assert (back[0, 2] == 0).all()
    cosine = (back * normals).sum(-1)
    cosine[0, 2] = 1
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, FARTHEST + 0.01])
def test_depths_that_16_bits_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(DatasetError, match=re.escape(f"{tmp_path / 'depth.png'}: depths must lie in 0 to 65.535")):
        save_depth(tmp_path / "depth.png", np.full((2, 2), value))
    assert not (tmp_path / "depth.png").exists()


def test_files_that_are_not_maps_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file"):
        read_depth(tmp_path / "none.png")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    with pytest.raises(DatasetError, match=r"torn\.png: not a readable picture"):
        read_depth(tmp_path / "torn.png")
    Image.new("RGB", (4, 4)).save(tmp_path / "colours.png")
    Image.new("L", (4, 4)).save(tmp_path / "grey.png")
    with pytest.raises(DatasetError, match="one channel"):
        read_depth(tmp_path / "colours.png")
    with pytest.raises(DatasetError, match="three channels"):
        read_normals(tmp_path / "grey.png")
