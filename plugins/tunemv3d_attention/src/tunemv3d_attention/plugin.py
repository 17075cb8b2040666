"""Descriptors of this distribution's components. Light: imports no torch."""

from pathlib import Path

from tunemv3d_attention.spec import AttentionFieldSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin

ATTENTION = ComponentPlugin(
    slot="field",
    name="attention",
    api="1.0",
    spec=AttentionFieldSpec,
    build="tunemv3d_attention.field:build",
    summary="Attention between the cells of all views, with their rays; no 3D, renders only the input views",
    reference="MVDream, arXiv:2308.16512",
)

ATTENTION_MINI_SPEC = Path(__file__).parent / "attention-mini.json"
