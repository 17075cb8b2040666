"""Descriptors of this distribution's components. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_cross_attention.spec import CrossAttentionSpec

CROSS_ATTENTION = ComponentPlugin(
    slot="injector",
    name="cross-attention",
    api="1.0",
    spec=CrossAttentionSpec,
    build="tunemv3d_cross_attention.injector:build",
    summary="Each skip's cells attend to the lifted map of their own view; nothing at the start",
    reference="IP-Adapter, arXiv:2308.06721; ALiBi, arXiv:2108.12409",
)

CROSS_ATTENTION_MINI_SPEC = Path(__file__).parent / "cross-attention-mini.json"
