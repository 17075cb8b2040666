"""The descriptor of the field, and where its spec lies. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_volume.spec import VolumeSpec

VOLUME = ComponentPlugin(
    slot="field",
    name="volume",
    api="1.0",
    spec=VolumeSpec,
    build="tunemv3d_volume.field:build",
    summary="A feature volume that a 3D U-Net made of all views, rendered by NeuS; values blended from the views",
    reference="SparseNeuS, arXiv:2206.05737; ViewDiff, arXiv:2403.01807; SyncDreamer, arXiv:2309.03453",
)

VOLUME_MINI_SPEC = Path(__file__).parent / "specs" / "volume-mini.json"
