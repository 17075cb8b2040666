"""Options of the field ``lrm``. Light: imports no torch."""

from typing import Self

from pydantic import model_validator

from tunemv3d_core.rendering.spec import PositiveInt, SDFFieldSpec


class LRMSpec(SDFFieldSpec):
    """Options of the field ``lrm`` (LRM's kind of network); the planes span [-radius, radius]."""

    patch: PositiveInt = 4
    """Side of the square of feature cells that becomes one token of a view."""

    cells: PositiveInt = 16
    """Tokens along each side of a plane."""

    upsampling: PositiveInt = 4
    """Cells of a rendered plane along each side of a token."""

    hidden: PositiveInt = 128
    """Channels of a token; a multiple of ``head_channels`` and even."""

    head_channels: PositiveInt = 32
    """Channels of one attention head."""

    blocks: PositiveInt = 4
    """Blocks: the planes' tokens attend to those of the views, then to each other, then a network for each."""

    channels: PositiveInt = 32
    """Feature channels of a rendered plane."""

    decoder: PositiveInt = 64
    """Width of the network that decodes a point's plane features."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden % self.head_channels or self.hidden % 2:
            raise ValueError(
                f"hidden = {self.hidden} should be even and a multiple of head_channels = {self.head_channels}"
            )
        return self
