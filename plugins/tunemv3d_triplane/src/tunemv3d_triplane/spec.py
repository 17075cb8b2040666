"""Options of the field ``triplane``. Light: imports no torch."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.rendering.spec import PositiveInt, SDFFieldSpec


class TriplaneSpec(SDFFieldSpec):
    """Options of the field ``triplane`` (Dual3D's kind of field); the planes span [-radius, radius]."""

    old_tensors: ClassVar[Mapping[str, str]] = {
        **SDFFieldSpec.old_tensors,
        r"^\.planes\.enter\b": ".planes.fc_in",
    }

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
    """Width of the network that decodes a point's plane features."""

    layers: PositiveInt = 2
    """Hidden layers of that network."""
