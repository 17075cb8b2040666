"""Options of the field ``density``. Light: imports no torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.config.component_spec import ComponentSpec

PositiveInt = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class DensitySpec(ComponentSpec):
    """Options of the field ``density`` (NeRF; pixelNeRF's network)."""

    aggregator: AggregatorSpec
    """How the features of all views that see a point become one vector: any installed aggregator."""

    hidden: PositiveInt = 128
    """Width of the network."""

    blocks: PositiveInt = 5
    """Residual blocks of the network; each is given the aggregated features anew."""

    frequencies: PositiveInt = 6
    """Frequencies of the point encoding (M of the paper's Eq. 1)."""

    omega: Positive = 1.5
    """Lowest frequency of the point encoding, radians a world unit (paper Eq. 1)."""

    samples: PositiveInt = 32
    """Sections a ray; the network is evaluated once in each."""

    slope: Positive = 10.0
    """Density is slope softplus(slope (0.5 - |p| + change)), one a world unit: 10 gives the first ball a rim about 0.2
    wide. The larger, the sharper the first ball and the faster density can grow."""

    radius: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Radius of the sphere around the origin that is rendered, world units; objects lie within 0.9."""

    gives: Literal["latents", "features"] = "latents"
    """What is rendered: clean latents (the paper's choice) or features."""

    values: PositiveInt | None = None
    """Channels of the rendered features, for ``gives = "features"``; latents have the backbone's channels."""

    chunk_size: PositiveInt = 262144
    """Most points evaluated at once where no gradient is kept: bounds the memory of sampling."""

    fd_eps: Positive = 0.005
    """Step of the finite differences for normals, world units."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.gives == "features") != (self.values is not None):
            raise ValueError("'values' is given exactly when gives = 'features'")
        return self
