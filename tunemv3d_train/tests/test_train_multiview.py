"""The dataset reader: what it gives, and that every kind of damage is named before training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import train_stand_ins as tiny
from PIL import Image

from tunemv3d_core.errors import CameraError, DatasetError
from tunemv3d_core.slots import HonoursOptOut
from tunemv3d_train.multiview import MultiviewImages, build
from tunemv3d_train.spec import MultiviewSpec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.write_dataset(tmp_path / "discs")


def test_pictures_lie_on_white_with_their_cameras(folder: Path) -> None:
    data = MultiviewImages(folder)
    views = data.views(1, [4, 2])
    assert views.images.shape == (1, 2, 3, 16, 16) and views.alpha.shape == (1, 2, 16, 16)
    for k, view in enumerate((4, 2)):
        rgba = tiny.disc(1, view).astype(np.float64) / 255
        expected = (rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]) * 2 - 1
        np.testing.assert_allclose(views.images[0, k].permute(1, 2, 0).numpy(), expected, atol=1e-6)
        assert views.cameras[0, k].origins.tolist() == data.record(1).cameras.origins[view].tolist()
    assert (views.ids, views.captions) == (["disc1"], ["disc number 1"])


def test_partly_transparent_pixels_are_blended(folder: Path) -> None:
    picture = np.full((16, 16, 4), (0, 0, 0, 51), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "objects/disc0/000.webp", lossless=True, exact=True)
    views = MultiviewImages(folder).views(0, [0])
    assert float(views.alpha.mean()) == pytest.approx(0.2)
    assert float(views.images.mean()) == pytest.approx(0.8 * 2 - 1, abs=1e-6)


def test_splits_follow_the_manifest(folder: Path) -> None:
    assert MultiviewImages(folder).splits() == {"train": [0, 1, 2], "held_out": [3, 4]}


def credit(folder: Path, id_: str, **facts: str) -> None:
    path = folder / "objects" / id_ / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_an_opt_out_list_is_honoured_and_counted(folder: Path, tmp_path: Path) -> None:
    credit(folder, "disc1", creator="Ann, Bob")
    credit(folder, "disc3", source="https://example.org/models/3")
    (tmp_path / "list.txt").write_text("# asked\nbob\nhttps://example.org/models\n")
    (folder / "objects/disc1/000.webp").unlink()  # its pictures are not even opened
    data = build(MultiviewSpec(type="multiview", path=str(folder), opt_out=str(tmp_path / "list.txt")))
    assert data.splits() == {"train": [0, 1], "held_out": [2]} and len(data) == 3
    assert [data.record(i).id for i in range(3)] == ["disc0", "disc2", "disc4"]
    assert data.views(1, [4]).ids == ["disc2"] and isinstance(data, HonoursOptOut) and data.opted_out == 2
    (tmp_path / "list.txt").write_text("\n".join(f"disc{i}" for i in range(5)))
    with pytest.raises(DatasetError, match="the opt-out list leaves no object"):
        build(MultiviewSpec(type="multiview", path=str(folder), opt_out=str(tmp_path / "list.txt")))


def test_a_truncated_picture_is_named_when_it_is_read(folder: Path) -> None:
    path = folder / "objects/disc1/003.webp"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"disc1/003\.webp: the picture is damaged"):
        MultiviewImages(folder).views(1, [3])


def test_what_is_missing_or_wrong_is_named_up_front(folder: Path, tmp_path: Path) -> None:
    def broken(name: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DatasetError, match=r"empty/dataset\.json"):
        MultiviewImages(empty)

    half = broken("half")
    shutil.rmtree(half / "objects/disc2")
    with pytest.raises(DatasetError, match=r"disc2/transforms\.json: no such file"):
        MultiviewImages(half)

    missing = broken("missing")
    (missing / "objects/disc2/007.webp").unlink()
    with pytest.raises(DatasetError, match=r"disc2/007\.webp: the picture is missing"):
        MultiviewImages(missing)

    text = broken("text")
    (text / "objects/disc0/001.webp").write_text("not a picture")
    with pytest.raises(DatasetError, match=r"disc0/001\.webp: the picture is damaged"):
        MultiviewImages(text)

    opaque = broken("opaque")
    Image.new("RGB", (16, 16)).save(opaque / "objects/disc0/001.webp")
    with pytest.raises(DatasetError, match=r"disc0/001\.webp: no alpha"):
        MultiviewImages(opaque)

    large = broken("large")
    Image.new("RGBA", (8, 16)).save(large / "objects/disc0/001.webp")
    with pytest.raises(DatasetError, match=r"8 x 16 pixels, but transforms\.json says 16 x 16"):
        MultiviewImages(large)


def test_cameras_that_are_not_rigid_and_missing_captions_are_named(folder: Path) -> None:
    path = folder / "objects/disc2/transforms.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"captions": []}))
    with pytest.raises(DatasetError, match=r"disc2/transforms\.json: 'captions'"):
        MultiviewImages(folder)
    content["frames"][1]["transform_matrix"][0][0] *= 3
    content["frames"][1]["transform_matrix"][1][0] += 1
    path.write_text(json.dumps(content))
    with pytest.raises(CameraError, match=r"disc2/transforms\.json: camera 1 is not rigid"):
        MultiviewImages(folder)
