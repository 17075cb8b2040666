"""Descriptors of this distribution's commands. Apart from ``plugin.py``, so that its help reads no spec."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

EVALUATE = CommandPlugin(
    name="evaluate",
    app="tunemv3d_eval.evaluate:evaluate",
    summary="How consistent a checkpoint's views are: figures, a table and uncurated pictures.",
)

STUDY = CommandPlugin(
    name="study",
    app="tunemv3d_eval.study_command:study",
    summary="Train and evaluate several specs alike, and compare them in one report.",
)
