"""Options of the field ``hash``. Light: imports no torch."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.rendering.spec import PositiveInt, SDFFieldSpec


class HashSpec(SDFFieldSpec):
    """Options of the field ``hash``; the grid spans [-radius, radius]^3."""

    aggregator: AggregatorSpec
    """How the features of all views that see a point become one vector: any installed aggregator."""

    levels: PositiveInt = 8
    """L, grids of the hash encoding."""

    coarsest: PositiveInt = 4
    """Cells along each side of the coarsest grid; those of the others grow geometrically (Instant-NGP's N_min)."""

    finest: PositiveInt = 128
    """Cells along each side of the finest grid (Instant-NGP's N_max)."""

    log2_entries: Annotated[int, Field(ge=4, le=24)] = 14
    """Each level has a table of 2 to this power entries (Instant-NGP's T)."""

    channels: PositiveInt = 4
    """Feature channels of an entry (Instant-NGP's F)."""

    hidden: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    """Width of the network, even."""

    @model_validator(mode="after")
    def _finest_is_finer(self) -> Self:
        if self.finest < self.coarsest:
            raise ValueError(f"finest = {self.finest} should be at least coarsest = {self.coarsest}")
        return self
