"""Descriptors of this distribution's commands. Light: imports no torch."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

REPORT = CommandPlugin(
    name="report",
    app="tunemv3d_show.report:report",
    summary="Runs and sampled objects as one HTML file that opens anywhere, without a network.",
)

VIEW = CommandPlugin(
    name="view",
    app="tunemv3d_show.view:view",
    summary="Watch an object appear step by step in the browser, move cameras, branch, export.",
)
