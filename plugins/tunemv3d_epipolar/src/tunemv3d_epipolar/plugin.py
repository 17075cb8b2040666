"""The descriptor of the field, and where its spec lies. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_epipolar.spec import EpipolarSpec

EPIPOLAR = ComponentPlugin(
    slot="field",
    name="epipolar",
    api="1.0",
    spec=EpipolarSpec,
    build="tunemv3d_epipolar.field:build",
    summary="Attention over the views on epipolar lines, then along the ray, over one density; has no surface",
    reference="IBRNet, arXiv:2102.13090; GNT, arXiv:2207.13298",
)

EPIPOLAR_MINI_SPEC = Path(__file__).parent / "specs" / "epipolar-mini.json"
