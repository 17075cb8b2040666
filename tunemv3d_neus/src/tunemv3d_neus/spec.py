"""Options of this package's components. Light: imports no torch."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.rendering.spec import Positive, PositiveInt, SDFFieldSpec


class ResAttnSpec(ComponentSpec):
    """Options of the view encoder ``resattn`` (paper B.1: E of ResBlocks and AttentionBlocks)."""

    old_options: ClassVar[Mapping[str, str]] = {"guess": "foreground_x0"}
    old_tensors: ClassVar[Mapping[str, str]] = {
        r"^\.enter\b": ".conv_in",
        r"^\.leave\b": ".conv_out",
        r"\.around\b": ".skip",
    }

    features: PositiveInt = 32
    """Feature channels f that each view gets."""

    channels: tuple[PositiveInt, ...] = Field(default=(64, 128, 192), min_length=1)
    """Channels of each level; every level after the first has half the resolution of the one before."""

    blocks: PositiveInt = 1
    """ResBlocks of each level on the way down and on the way up."""

    attention_from: int = Field(default=1, ge=0)
    """First level with attention after each ResBlock, counted from 0, the full resolution. The lowest always has it."""

    head_channels: PositiveInt = 32
    """Channels of one attention head; must divide the channels of every level with attention."""

    groups: PositiveInt = 8
    """Groups of each GroupNorm; must divide the channels of every level."""

    foreground_x0: bool = False
    """Also see the frozen model's x0 of each view minus the white background, and hand it on as the last channels with
    one more that says where it shows an object. Not in the paper; costs one pass of the frozen decoder."""

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        for level, channels in enumerate(self.channels):
            if channels % self.groups:
                raise ValueError(f"level {level}: {channels} channels are no multiple of groups = {self.groups}")
            attends = level >= self.attention_from or level == len(self.channels) - 1
            heads = self.head_channels
            if attends and channels % heads:
                raise ValueError(f"level {level}: {channels} channels are no multiple of head_channels = {heads}")
        return self


class MeanVarianceSpec(ComponentSpec):
    """The aggregator ``mean-variance`` has no options."""


class VisibilitySpec(ComponentSpec):
    """Options of the aggregator ``visibility``."""

    hidden: PositiveInt = 16
    """Width of the network that weighs views."""


class AttentionSpec(ComponentSpec):
    """Options of the aggregator ``attention``."""

    old_tensors: ClassVar[Mapping[str, str]] = {r"^\.leave\b": ".fc_out"}

    heads: PositiveInt = 4
    """Attention heads."""

    head_channels: PositiveInt = 8
    """Channels of one head."""


class NeuSSpec(SDFFieldSpec):
    """Options of the field ``neus`` (paper B.1)."""

    old_tensors: ClassVar[Mapping[str, str]] = {
        **SDFFieldSpec.old_tensors,
        r"^\.network\.enter\b": ".network.fc_in",
    }

    aggregator: AggregatorSpec
    """How the features of all views that see a point become one vector."""

    hidden: PositiveInt = 128
    """Width of the ResNetFC."""

    blocks: PositiveInt = 5
    """Residual blocks of the ResNetFC."""

    latent_blocks: PositiveInt = 3
    """The first so many blocks are each given the aggregated features anew, as in pixelNeRF; at most ``blocks``."""

    frequencies: PositiveInt = 6
    """M of Eq. 1, the number of frequencies of the point encoding."""

    omega: Positive = 1.5
    """Omega of Eq. 1, the lowest frequency, radians per world unit: 1.5 for ShapeNet chairs, 2.0 for mini-Objaverse."""

    directions: Literal["values", "input"] = "values"
    """Where view directions enter: at the values alone, so that the surface is the same from everywhere, or beside the
    coordinates at the network's entrance, as B.1 can be read; distances without a ray then have a direction of zeros.
    """

    skip_features: bool = True
    """Aggregated features also reach distance and value past the network, as SparseNeuS and IBRNet blend pixels: it
    need not first learn to pass them on. Not in the paper."""

    @model_validator(mode="after")
    def _latent_blocks_exist(self) -> Self:
        if self.latent_blocks > self.blocks:
            raise ValueError(f"latent_blocks = {self.latent_blocks} exceeds blocks = {self.blocks}")
        return self
