"""Command that this distribution adds to ``tunemv3d``. Apart from ``plugin.py``, so that its help reads no spec."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

DATA = CommandPlugin(
    name="data",
    app="tunemv3d_data.commands:app",
    summary="Make multi-view datasets from meshes",
)
