"""Options of this package's components."""

from typing import Literal

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec


class EmbreeSpec(ComponentSpec):
    """Options of the ``embree`` mesh renderer."""

    type: Literal["embree"] = "embree"
    """The ray caster on Embree: any CPU, no graphics system."""
    samples: int = Field(default=2, ge=1, le=8)
    """Rays per pixel and axis: 2 casts four rays per pixel."""


class ModernglSpec(ComponentSpec):
    """Options of the ``moderngl`` mesh renderer."""

    type: Literal["moderngl"] = "moderngl"
    """OpenGL without a window: on a GPU, or in software by Mesa."""
    samples: int = Field(default=2, ge=1, le=8)
    """Samples per pixel and axis: 2 takes four per pixel."""


class BlenderSpec(ComponentSpec):
    """Options of the ``blender`` mesh renderer."""

    type: Literal["blender"] = "blender"
    """Path tracing by Blender's Cycles, with shadows and light from surface to surface."""
    python: str | None = None
    """A Python that has bpy, or a blender executable; None: $TUNEMV3D_BLENDER, this Python, or blender on the PATH."""
    samples: int = Field(default=32, ge=1)
    """Paths per pixel. Depth, normals and coverage come from a grid of 2 x 2."""
    denoise: bool = True
    """Denoise by Open Image Denoise, where this Blender has it."""
    threads: int = Field(default=1, ge=1)
    """Threads of one Blender process; each of a job's workers starts one."""
    hdri: str | None = None
    """An equirectangular picture of the surroundings (.hdr, .exr) instead of the job's light."""
    hdri_strength: float = Field(default=1.0, gt=0)
    """Factor on the HDRI's light."""
