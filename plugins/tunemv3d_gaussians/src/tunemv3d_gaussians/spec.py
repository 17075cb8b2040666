"""Options of the field ``gaussians``. Light: imports no torch."""

from typing import Annotated

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec

PositiveInt = Annotated[int, Field(ge=1)]


class GaussiansSpec(ComponentSpec):
    """Options of the field ``gaussians``."""

    hidden: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    """Width of the convolutions that shape the Gaussians, and of the network that looks for their depths."""

    depths: int = Field(default=16, ge=2)
    """Points along each pixel's ray at which the other views are asked whether the surface is there."""

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
