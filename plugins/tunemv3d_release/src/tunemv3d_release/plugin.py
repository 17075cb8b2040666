"""Descriptor of the command. Light: imports no torch."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

RELEASE = CommandPlugin(
    name="plugins.release",
    app="tunemv3d_release.command:release",
    summary="Build distributions and check them as an index and a user would.",
)
