"""The descriptor of the field, and where its spec lies. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_density.spec import DensitySpec

DENSITY = ComponentPlugin(
    slot="field",
    name="density",
    api="1.0",
    spec=DensitySpec,
    build="tunemv3d_density.field:build",
    summary="A density and clean latents at every point, rendered by NeRF's quadrature; has no surface",
    reference="NeRF, arXiv:2003.08934; pixelNeRF, arXiv:2012.02190",
)

DENSITY_MINI_SPEC = Path(__file__).parent / "specs" / "density-mini.json"
