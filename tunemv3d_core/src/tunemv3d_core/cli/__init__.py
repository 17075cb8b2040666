"""The ``tunemv3d`` command: a frame whose commands come from the installed packages, core's own included."""
