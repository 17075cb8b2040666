"""Descriptors of this distribution's commands. Light: imports no torch and no options of components."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

MESH = CommandPlugin(
    name="mesh",
    app="tunemv3d_shape.commands.mesh:mesh",
    summary="Textured meshes of sampled objects, as GLB, OBJ or PLY.",
)

REFINE = CommandPlugin(
    name="refine",
    app="tunemv3d_shape.commands.refine:refine",
    summary="Sharpen a sampled object's shape and colours by fitting them to its views.",
)
