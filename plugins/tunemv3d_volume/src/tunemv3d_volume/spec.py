"""Options of the field ``volume``. Light: imports no torch."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.rendering.spec import PositiveInt, SDFFieldSpec

Channels = Annotated[int, Field(ge=8, multiple_of=8)]


class VolumeSpec(SDFFieldSpec):
    """Options of the field ``volume`` (SparseNeuS, ViewDiff, SyncDreamer); the volume spans [-radius, radius]^3."""

    old_tensors: ClassVar[Mapping[str, str]] = {
        **SDFFieldSpec.old_tensors,
        r"^\.network\.unet\.enter\b": ".network.unet.conv_in",
    }

    aggregator: AggregatorSpec = Field(default={"type": "mean-variance"}, validate_default=True)
    """How the features of all views that see a cell become one vector: any installed aggregator."""

    cells: PositiveInt = 48
    """Cells along each side of the volume; divisible by 2 once for every level of the U-Net after the first."""

    channels: tuple[Channels, ...] = Field(default=(16, 32, 64), min_length=1)
    """Channels of each level of the 3D U-Net, multiples of 8; every level after the first has half the resolution of
    the one before. The first is also what is sampled at a point."""

    hidden: PositiveInt = 32
    """Width of the one hidden layer that decodes a point's features."""

    blend_hidden: PositiveInt = 16
    """Width of the network that weighs views where their features are blended."""

    @model_validator(mode="after")
    def _levels_divide(self) -> Self:
        finest = 2 ** (len(self.channels) - 1)
        if self.cells % finest:
            raise ValueError(f"cells = {self.cells} is no multiple of {finest}, as {len(self.channels)} levels need")
        return self
