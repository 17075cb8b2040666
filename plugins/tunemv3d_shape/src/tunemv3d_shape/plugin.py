"""Descriptors of what this distribution adds. Light: imports no torch."""

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_shape.spec import MarchingCubesSpec

MARCHING_CUBES = ComponentPlugin(
    slot="mesher",
    name="marching-cubes",
    api="1.0",
    spec=MarchingCubesSpec,
    build="tunemv3d_shape.generate:build",
    summary="A surface that agrees with the views' masks, simplified, unwrapped and textured from the views",
    reference="Lorensen and Cline 1987, Marching Cubes: A High Resolution 3D Surface Construction Algorithm",
)
