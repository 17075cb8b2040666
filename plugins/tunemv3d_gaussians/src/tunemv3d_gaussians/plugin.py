"""Descriptors of this distribution's components. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_gaussians.spec import GaussiansSpec

GAUSSIANS = ComponentPlugin(
    slot="field",
    name="gaussians",
    api="1.0",
    spec=GaussiansSpec,
    build="tunemv3d_gaussians.field:build",
    summary="One 3D Gaussian for every pixel of every view, splatted into any camera",
    reference="DiffSplat, arXiv:2501.16764; 3D Gaussian Splatting, arXiv:2308.04079",
)

GAUSSIANS_MINI_SPEC = Path(__file__).parent / "gaussians-mini.json"
