"""The descriptor of the field, and where its spec lies. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_lrm.spec import LRMSpec

LRM = ComponentPlugin(
    slot="field",
    name="lrm",
    api="1.0",
    spec=LRMSpec,
    build="tunemv3d_lrm.field:build",
    summary="Learned tri-plane tokens that attend to patches of all views and their rays, rendered by NeuS",
    reference="LRM, arXiv:2311.04400; GS-LRM, arXiv:2404.19702",
)

LRM_MINI_SPEC = Path(__file__).parent / "specs" / "lrm-mini.json"
