"""The descriptor of the field, and where its spec lies. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_triplane.spec import TriplaneSpec

TRIPLANE = ComponentPlugin(
    slot="field",
    name="triplane",
    api="1.0",
    spec=TriplaneSpec,
    build="tunemv3d_triplane.field:build",
    summary="Three planes of features that say a signed distance and clean latents, rendered by NeuS",
    reference="Dual3D, arXiv:2405.09874; EG3D, arXiv:2112.07945",
)

TRIPLANE_MINI_SPEC = Path(__file__).parent / "specs" / "triplane-mini.json"
