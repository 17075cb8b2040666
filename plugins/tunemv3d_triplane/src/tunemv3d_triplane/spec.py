"""Options of the field ``triplane``. Light: imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.config.component_spec import ComponentSpec

PositiveInt = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class TriplaneSpec(ComponentSpec):
    """Options of the field ``triplane`` (Dual3D's kind of field)."""

    aggregator: AggregatorSpec
    """How the features of all views that see a grid point become one vector: any installed aggregator."""

    cells: PositiveInt = 48
    """Cells along each side of the planes, and of the grid of points that is folded into them."""

    folded: PositiveInt = 16
    """Channels of a grid point when it is folded into the planes."""

    channels: Annotated[int, Field(ge=8, multiple_of=8)] = 32
    """Feature channels of each plane, a multiple of 8."""

    plane_blocks: PositiveInt = 3
    """Residual blocks of the convolutional network that refines the planes; each sees all three."""

    hidden: PositiveInt = 64
    """Width of the network that reads a point off the planes."""

    layers: PositiveInt = 2
    """Hidden layers of that network."""

    samples: int = Field(default=32, ge=2)
    """Points a ray at which the planes are read; they bound ``samples - 1`` sections."""

    fine_samples: int = Field(default=0, ge=0)
    """Further points a ray, placed where the first ``samples`` leave room for a surface."""

    variance: float = 0.3
    """Start of v in s = exp(10 v), the inverse width of the surface, one a world unit: 0.3 (s = 20) in NeuS."""

    radius: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Radius of the sphere around the origin that is rendered, and half the side of the planes, world units; objects
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
        return self
