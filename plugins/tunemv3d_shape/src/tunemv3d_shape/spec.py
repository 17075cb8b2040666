"""Options of this package's component. Light: imports no torch."""

from typing import Literal

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec


class MarchingCubesSpec(ComponentSpec):
    """Options of the ``marching-cubes`` mesher."""

    type: Literal["marching-cubes"] = "marching-cubes"
    """Marching cubes on the masks' correction of the signed distance, textured from the views."""
    resolution: int = Field(default=256, ge=16, le=1024)
    """Cells along the side of a cube of 1.9 world units."""
    faces: int = Field(default=20000, ge=100)
    """Triangles at most."""
    texture: int = Field(default=1024, ge=32, le=8192)
    """Texels along the texture's side."""
    unwrap_seconds: float = Field(default=60.0, gt=0)
    """Seconds after which charts are given up and every triangle gets its own place in the texture."""
