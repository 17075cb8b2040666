"""Descriptor of this distribution's command. Light: imports no torch."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

SERVE = CommandPlugin(
    name="serve",
    app="tunemv3d_serve.serve:serve",
    summary="Sample over HTTP: a queue of objects, pictures while they appear, meshes, and a page.",
)
