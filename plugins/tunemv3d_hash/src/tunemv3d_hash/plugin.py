"""The descriptor of the field, and where its spec lies. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_hash.spec import HashSpec

HASH = ComponentPlugin(
    slot="field",
    name="hash",
    api="1.0",
    spec=HashSpec,
    build="tunemv3d_hash.field:build",
    summary="A multi-resolution hash grid, modulated by the views' features at each point, rendered by NeuS",
    reference="Instant-NGP, arXiv:2201.05989; FiLM, arXiv:1709.07871",
)

HASH_MINI_SPEC = Path(__file__).parent / "specs" / "hash-mini.json"
