"""What this distribution adds to the registry. Light: imports no torch."""

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
