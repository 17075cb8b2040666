"""What holds of the packaged chairs: real views are consistent, and the packaged prompts are new."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_core.io.prompts import read_prompts
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_eval.metrics.hull_recall import hull_recall
from tunemv3d_eval.metrics.silhouettes import silhouettes
from tunemv3d_eval.protocols.protocol import PROMPTS


@pytest.fixture(scope="module")
def chairs() -> Path:
    try:
        return find_asset("chairs")
    except ComponentError:
        pytest.skip("the packaged chairs are not installed")


@pytest.mark.slow
def test_real_views_lie_in_each_others_hull(chairs: Path) -> None:
    held_out = [name for name, split in read_manifest(chairs).items() if split == "held_out"]
    for name in held_out[:5]:
        record = read_object(chairs / "objects" / name)
        pictures = [np.array(Image.open(chairs / "objects" / name / file).convert("RGBA")) for file in record.files[:8]]
        rgba = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        on_white = (rgba[:, :3] * rgba[:, 3:] + 1 - rgba[:, 3:]) * 2 - 1
        masks, cameras = torch.stack([rgba[:, 3] > 0.5, silhouettes(on_white)]), record.cameras[:8]
        by_alpha, by_colour = hull_recall(masks, cameras[None].expand(2, 8)).tolist()
        assert by_alpha >= 0.999, name
        # White parts that are lit as white as the ground are lost to the second.
        assert by_colour >= (0.95 if "white" in record.captions[0] else 0.99), name


def test_no_packaged_prompt_is_a_caption(chairs: Path) -> None:
    captions = {
        caption for name in read_manifest(chairs) for caption in read_object(chairs / "objects" / name).captions
    }
    assert captions
    assert not captions & set(read_prompts(PROMPTS / "chairs-20.txt"))
