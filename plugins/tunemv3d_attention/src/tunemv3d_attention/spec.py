"""Options of the field ``attention``. Light: imports no torch."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_spec import ComponentSpec

PositiveInt = Annotated[int, Field(ge=1)]


class AttentionFieldSpec(ComponentSpec):
    """Options of the field ``attention``."""

    hidden: PositiveInt = 128
    """Channels of a token; a multiple of ``head_channels`` and even."""

    blocks: PositiveInt = 4
    """Blocks of attention over the tokens of all views, each followed by a small network."""

    head_channels: PositiveInt = 32
    """Channels of one attention head."""

    patch: PositiveInt = 2
    """Side of the square of feature cells that becomes one token. The cost of attention falls with its fourth power."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.hidden % self.head_channels or self.hidden % 2:
            raise ValueError(
                f"hidden = {self.hidden} should be even and a multiple of head_channels = {self.head_channels}"
            )
        return self
