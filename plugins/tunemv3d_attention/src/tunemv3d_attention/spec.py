"""Options of the field ``attention``. Light: imports no torch."""

from collections.abc import Mapping
from typing import ClassVar, Self

from pydantic import model_validator

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.rendering.spec import OLD_HEADS, PositiveInt


class AttentionFieldSpec(ComponentSpec):
    """Options of the field ``attention``."""

    old_tensors: ClassVar[Mapping[str, str]] = {
        **OLD_HEADS,
        r"^\.network\.enter\b": ".network.conv_in",
        r"^\.network\.leave\b": ".network.conv_out",
        r"^\.network\.straight\b": ".network.skip",
    }

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
