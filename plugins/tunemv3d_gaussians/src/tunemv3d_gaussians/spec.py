"""Options of the field ``gaussians``. Light: imports no torch."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.rendering.spec import OLD_HEADS, PositiveInt


class GaussiansSpec(ComponentSpec):
    """Options of the field ``gaussians``."""

    old_options: ClassVar[Mapping[str, str]] = {"chunk": "chunk_size"}
    old_tensors: ClassVar[Mapping[str, str]] = {
        **OLD_HEADS,
        r"^\.network\.density\.enter\b": ".network.density.fc_in",
        r"^\.network\.density\.leave\b": ".network.density.fc_out",
        r"^\.network\.head\.enter\b": ".network.head.conv_in",
        r"^\.network\.head\.leave\b": ".network.head.conv_out",
        r"^(\.network\.(density|head))\.straight\b": r"\1.skip",
    }

    aggregator: AggregatorSpec = Field(default={"type": "mean-variance"}, validate_default=True)
    """How the features of all views that see a point become one vector: any installed aggregator."""

    hidden: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    """Width of the convolutions that shape the Gaussians, and of the network that finds their depths."""

    depths: int = Field(default=16, ge=2)
    """Points along each pixel's ray at which the views are aggregated to find the surface."""

    radius: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Radius of the sphere around the origin that holds the Gaussians, world units; objects lie within 0.9."""

    scale: Annotated[float, Field(gt=0)] = 0.4
    """Standard deviation that a Gaussian starts with, in widths of its own pixel at its depth; it may become four
    times as large or small along each of its axes."""

    tile: PositiveInt = 4
    """Side of the tiles that share a list of Gaussians, cells of the feature maps."""

    listed: PositiveInt = 512
    """Most Gaussians that a tile composites: those that may cover most of it. gsplat has no such limit."""

    chunk_size: PositiveInt = 33554432
    """Most pairs of a pixel and a Gaussian at once where no gradient is kept."""

    gsplat: bool = True
    """Splat whole maps by gsplat where it is installed and the device is a GPU. Not inside a CUDA graph."""
