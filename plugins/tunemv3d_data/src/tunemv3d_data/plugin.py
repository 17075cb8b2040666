"""Descriptors of this package's components; nothing heavy is imported here."""

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_data.spec import BlenderSpec, EmbreeSpec, ModernglSpec

EMBREE = ComponentPlugin(
    slot="mesh_renderer",
    name="embree",
    api="1.0",
    spec=EmbreeSpec,
    build="tunemv3d_data.renderers.embree:build",
    summary="Ray casting on the CPU with fixed lights; the same bytes on every run",
    reference="Wald et al. 2014, Embree: A Kernel Framework for Efficient CPU Ray Tracing",
)

MODERNGL = ComponentPlugin(
    slot="mesh_renderer",
    name="moderngl",
    api="1.0",
    spec=ModernglSpec,
    build="tunemv3d_data.renderers.moderngl:build",
    summary="OpenGL without a window, on a GPU or in software; the pictures of embree",
    reference="Segal and Akeley 2010, The OpenGL Graphics System, version 3.3",
)

BLENDER = ComponentPlugin(
    slot="mesh_renderer",
    name="blender",
    api="1.0",
    spec=BlenderSpec,
    build="tunemv3d_data.renderers.blender:build",
    summary="Path tracing by Blender's Cycles, with shadows; needs Blender or bpy",
    reference="Blender Foundation, Cycles",
)
