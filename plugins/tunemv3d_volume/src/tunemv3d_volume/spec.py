"""Options of the field ``volume``. Light: imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_spec import ComponentSpec

PositiveInt = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Channels = Annotated[int, Field(ge=8, multiple_of=8)]


class VolumeSpec(ComponentSpec):
    """Options of the field ``volume`` (SparseNeuS, ViewDiff, SyncDreamer)."""

    cells: PositiveInt = 48
    """Cells along each side of the volume; divisible by 2 once for every level of the U-Net after the first."""

    channels: tuple[Channels, ...] = Field(default=(16, 32, 64), min_length=1)
    """Channels of each level of the 3D U-Net, multiples of 8; every level after the first has half the resolution of
    the one before. The first is also what a point reads off the volume."""

    hidden: PositiveInt = 32
    """Width of the network's one hidden layer that a point's features pass."""

    blend_hidden: PositiveInt = 16
    """Width of the network that weighs views where their features are blended."""

    samples: int = Field(default=32, ge=2)
    """Points a ray at which the volume is read; they bound ``samples - 1`` sections."""

    fine_samples: int = Field(default=0, ge=0)
    """Further points a ray, placed where the first ``samples`` leave room for a surface."""

    variance: float = 0.3
    """Start of v in s = exp(10 v), the inverse width of the surface, one a world unit: 0.3 (s = 20) in NeuS."""

    radius: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Radius of the sphere around the origin that is rendered, and half the side of the volume, world units; objects
    lie within 0.9."""

    gives: Literal["latents", "features"] = "latents"
    """What is rendered: clean latents (the paper's choice) or features."""

    values: PositiveInt | None = None
    """Channels of the rendered features, for ``gives = "features"``; latents have the backbone's channels."""

    chunk_size: PositiveInt = 262144
    """Most points evaluated at once where no gradient is kept: bounds the memory of sampling and of meshes."""

    gradient_checkpointing: bool = False
    """Evaluate ``chunk_size`` points at once in training too and keep none: the backward pass evaluates again. Takes
    more time and little memory. Not in a CUDA graph."""

    fd_eps: Positive = 0.005
    """Step of the finite differences for normals and the eikonal term, world units."""

    eikonal_points: PositiveInt = 1024
    """Points near the surface of each object at which the eikonal term is taken; four times as many are drawn."""

    sparsity_scale: Positive = 100.0
    """Tau of SparseNeuS's sparsity term exp(-tau |f|), one a world unit."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.gives == "features") != (self.values is not None):
            raise ValueError("'values' is given exactly when gives = 'features'")
        finest = 2 ** (len(self.channels) - 1)
        if self.cells % finest:
            raise ValueError(f"cells = {self.cells} is no multiple of {finest}, as {len(self.channels)} levels need")
        return self
