"""Options of this package's components."""

from typing import Literal

from pydantic import Field

from tunemv3d_core.spec import ComponentSpec


class EmbreeSpec(ComponentSpec):
    """Options of the ``embree`` mesh renderer."""

    type: Literal["embree"] = "embree"
    """The ray caster on Embree: any CPU, no graphics system."""
    samples: int = Field(default=2, ge=1, le=8)
    """Rays per pixel and axis: 2 casts four rays a pixel."""


class ModernglSpec(ComponentSpec):
    """Options of the ``moderngl`` mesh renderer."""

    type: Literal["moderngl"] = "moderngl"
    """OpenGL without a window: on a GPU, or in software by Mesa."""
    samples: int = Field(default=2, ge=1, le=8)
    """Samples per pixel and axis: 2 takes four a pixel."""
