"""What this distribution adds to the registry. Light: imports no torch."""

from pathlib import Path

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin


class MultiviewSpec(ComponentSpec):
    """Pictures of objects from known cameras, in the folder layout of ``tunemv3d_core.io.posed_images``."""

    path: str = Field(min_length=1)
    """Name of a packaged dataset, or its folder."""

    cache_latents: bool = False
    """Keep the pictures' latents on disk, in ``latents/`` of the dataset's folder, so that the next run with the same
    image encoder need not encode them again."""


class ShardsSpec(ComponentSpec):
    """Objects in WebDataset shards, as ``tunemv3d data pack`` writes them, read while training goes on."""

    path: str = Field(min_length=1)
    """Folder or address (file://, s3://, gs://, https://, whatever fsspec reaches) that holds ``shards.json``."""

    window: int = Field(default=8, ge=1)
    """Shards whose objects are mixed: about so many are read from at once."""

    workers: int = Field(default=2, ge=1)
    """Threads that read the coming steps' objects. No result depends on it."""

    cache: str = "~/.cache/tunemv3d/shards"
    """Folder in which shards of another machine are kept."""

    cache_gb: float = Field(default=50.0, gt=0)
    """Gigabytes (1e9 bytes) that a process keeps there for one address; the shards read longest ago are removed."""


MULTIVIEW = ComponentPlugin(
    slot="dataset",
    name="multiview",
    api="1.0",
    spec=MultiviewSpec,
    build="tunemv3d_train.multiview:build",
    summary="RGBA pictures with cameras and captions (transforms.json), as tunemv3d data render writes them.",
)

SHARDS = ComponentPlugin(
    slot="dataset",
    name="shards",
    api="1.0",
    spec=ShardsSpec,
    build="tunemv3d_train.shards:build",
    summary="Objects in WebDataset shards on disk or at an address, streamed; tunemv3d data pack writes them.",
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
