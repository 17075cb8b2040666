"""Options of this package's components."""

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec


class MultiviewSpec(ComponentSpec):
    """Pictures of objects from known cameras, in the folder layout of ``tunemv3d_core.io.posed_images``."""

    path: str = Field(min_length=1)
    """Name of a packaged dataset, or its folder."""

    cache_latents: bool = False
    """Keep the pictures' latents on disk, in ``latents/`` of the dataset's folder, so that the next run with the same
    image encoder need not encode them again."""

    opt_out: str = ""
    """File of ids, creators and addresses whose objects are left out, one a line (``tunemv3d_core.io.opt_out``)."""


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

    opt_out: str = ""
    """File of ids, creators and addresses whose objects are left out, one a line (``tunemv3d_core.io.opt_out``)."""
