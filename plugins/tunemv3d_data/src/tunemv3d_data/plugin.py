"""What this package adds: descriptors only, nothing heavy is imported here."""

from tunemv3d_core.plugin import CommandPlugin, ComponentPlugin
from tunemv3d_data.spec import EmbreeSpec

EMBREE = ComponentPlugin(
    slot="mesh_renderer",
    name="embree",
    api="1.0",
    spec=EmbreeSpec,
    build="tunemv3d_data.renderers.embree:build",
    summary="Ray casting on the CPU with fixed lights; the same bytes on every run",
    reference="Wald et al. 2014, Embree: A Kernel Framework for Efficient CPU Ray Tracing",
)

DATA = CommandPlugin(
    name="data",
    app="tunemv3d_data.commands:app",
    summary="Make multi-view datasets from meshes",
)
