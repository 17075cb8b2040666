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
