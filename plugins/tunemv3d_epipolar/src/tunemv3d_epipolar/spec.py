"""Options of the field ``epipolar``. Light: imports no torch."""

from typing import Self

from pydantic import model_validator

from tunemv3d_core.rendering.spec import PositiveInt, RayFieldSpec


class EpipolarSpec(RayFieldSpec):
    """Options of the field ``epipolar``."""

    hidden: PositiveInt = 64
    """Channels of a sample's token; even, and a multiple of ``heads``."""

    heads: PositiveInt = 4
    """Heads of both kinds of attention, over the views and along the ray."""

    layers: PositiveInt = 1
    """Layers of the transformer along the ray."""

    samples: PositiveInt = 32
    """Intervals per ray; each is one token of the transformer."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden % self.heads or self.hidden % 2:
            raise ValueError(f"hidden = {self.hidden} should be even and a multiple of heads = {self.heads}")
        return self
