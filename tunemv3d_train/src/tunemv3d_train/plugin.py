"""What this distribution adds to the registry. Light: imports no torch."""

from pathlib import Path

from pydantic import Field

from tunemv3d_core.plugin import ComponentPlugin
from tunemv3d_core.spec import ComponentSpec


class MultiviewSpec(ComponentSpec):
    """Pictures of objects from known cameras, in the folder layout of ``tunemv3d_core.posed_images``."""

    path: str = Field(min_length=1)
    """Name of a packaged dataset, or its folder."""

    cache_latents: bool = False
    """Keep the pictures' latents on disk, in ``latents/`` of the dataset's folder, so that the next run with the same
    image encoder need not encode them again."""


MULTIVIEW = ComponentPlugin(
    slot="dataset",
    name="multiview",
    api="1.0",
    spec=MultiviewSpec,
    build="tunemv3d_train.multiview:build",
    summary="RGBA pictures with cameras and captions (transforms.json), as tunemv3d data render writes them.",
)

_SPECS = Path(__file__).parent / "specs"

ABLATION_CROSS_VIEW_ATTENTION = _SPECS / "ablation-cross-view-attention.json"
ABLATION_DIRECT_FEATURES = _SPECS / "ablation-direct-features.json"
ABLATION_FOUR_VIEWS = _SPECS / "ablation-four-views.json"
ABLATION_NO_NEUS_LOSS = _SPECS / "ablation-no-neus-loss.json"
ABLATION_NO_NOVEL_VIEWS = _SPECS / "ablation-no-novel-views.json"
ABLATION_NO_RAW_NOISE = _SPECS / "ablation-no-raw-noise.json"
ABLATION_TWO_VIEWS = _SPECS / "ablation-two-views.json"
BASELINE_2D = _SPECS / "baseline-2d.json"
PAPER_MINI_OBJAVERSE = _SPECS / "paper-mini-objaverse.json"
PAPER_SHAPENET_CHAIR = _SPECS / "paper-shapenet-chair.json"
