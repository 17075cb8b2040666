"""Descriptors of this distribution's commands. Apart from ``plugin.py``, so that its help reads no spec."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

PLAN = CommandPlugin(
    name="plan",
    app="tunemv3d_train.planning.command:plan",
    summary="What a training run needs before it starts: memory, time, and what makes it fit.",
)
