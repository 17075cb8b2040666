"""Commands that this distribution adds to ``tunemv3d``. Apart from ``plugin.py``, so that its help reads no spec."""

from tunemv3d_core.plugins.descriptor import CommandPlugin

SAMPLE = CommandPlugin(
    name="sample",
    app="tunemv3d_modulation.sample:sample",
    summary="Views of one object from text, as one picture and as files.",
)

EXPORT = CommandPlugin(
    name="export",
    app="tunemv3d_modulation.export:export",
    summary="A checkpoint as it is published, with its model card.",
)
