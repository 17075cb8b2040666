"""Options of this package's components."""

from typing import Annotated

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec

Decay = Annotated[float, Field(ge=0, lt=1)]


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


class AdamWSpec(ComponentSpec):
    """AdamW with decoupled weight decay (paper B.3)."""

    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square, per step."""

    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the squared mean, for losses that are weighed by 1: under the target "x_prev", whose weights
    are about 1e-4, it shrinks by their mean."""


class AdamW8bitSpec(AdamWSpec):
    """AdamW with moments of 8 bits, scaled in blocks of 256; those of tensors below 4,096 numbers stay float32."""

    paged: bool = False
    """Keep large moments in memory that the driver moves to the host where the GPU's is full, and back for each step. A
    run that goes on keeps those that it restores on the GPU."""


class ConstantSpec(ComponentSpec):
    """The same learning rate throughout."""


class CosineSpec(ComponentSpec):
    """A constant learning rate at first, then along half a cosine to zero at the last step."""

    start: float = Field(default=0.6, ge=0, lt=1)
    """Share of the steps before it falls."""
