"""The committed chairs are whole."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tunemv3d_core.io.posed_images import PosedImages, read_manifest, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.colours import COLOURS, colour_name
from tunemv3d_data.rendering.viewpoints import viewpoints


@pytest.fixture(scope="module")
def chairs() -> Path:
    return find_asset("chairs")


@pytest.fixture(scope="module")
def records(chairs: Path) -> list[PosedImages]:
    return [read_object(chairs / "objects" / id_) for id_ in read_manifest(chairs)]


def test_67_chairs_ten_held_out_under_8_megabytes(chairs: Path) -> None:
    splits = read_manifest(chairs)
    assert Counter(splits.values()) == {"train": 57, "held_out": 10}
    assert sorted(splits) == sorted(path.name for path in (chairs / "objects").iterdir())
    assert sum(path.stat().st_size for path in chairs.rglob("*") if path.is_file()) < 8_000_000


def test_every_chair_has_24_pictures_captions_and_credits(chairs: Path, records: list[PosedImages]) -> None:
    attribution = (chairs / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for record in records:
        assert record.views == len(record.files) == 24 and record.size == (128, 128)
        assert all((chairs / "objects" / record.id / file).is_file() for file in record.files)
        assert record.captions and all(caption.startswith(("a ", "an ")) for caption in record.captions)
        assert record.licence in ("CC0-1.0", "CC-BY-3.0", "CC-BY-3.0-US") and record.creator and record.source
        assert f"| {record.id} | {record.creator} | {record.licence} |" in attribution


def test_the_cameras_are_those_of_the_recipe(records: list[PosedImages]) -> None:
    for record in records[::7]:
        expected = viewpoints(record.id, 24).camera_to_world
        assert torch.allclose(record.cameras.camera_to_world, expected, atol=1e-6)


@pytest.mark.slow
def test_pictures_show_the_chair_whole_and_in_the_colour_of_its_caption(
    chairs: Path, records: list[PosedImages]
) -> None:
    """One view each: alpha reaches no border, covers enough, and the commonest colour name is in a caption."""
    agree = 0
    for record in records:
        image = Image.open(chairs / "objects" / record.id / record.files[3])
        pixels = np.asarray(image)
        assert image.format == "WEBP" and pixels.shape == (128, 128, 4)
        alpha = pixels[..., 3]
        assert not np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]).any()
        assert 0.02 < (alpha > 127).mean() < 0.7
        assert not pixels[alpha == 0].any()
        names = Counter(colour_name(rgb) for rgb in pixels[alpha == 255][::7, :3])
        agree += any(names.most_common(1)[0][0] in caption for caption in record.captions)
    assert agree >= 0.85 * len(records)
    assert {record.extra["colour"] for record in records} <= set(COLOURS)
