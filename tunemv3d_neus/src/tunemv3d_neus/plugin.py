"""Descriptors of this package's components. Light: imports no torch."""

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_neus.spec import AttentionSpec, MeanVarianceSpec, NeuSSpec, ResAttnSpec, VisibilitySpec

RESATTN = ComponentPlugin(
    slot="view_encoder",
    name="resattn",
    api="1.0",
    spec=ResAttnSpec,
    build="tunemv3d_neus.view_encoder:build",
    summary="U-shaped ResBlocks and AttentionBlocks that know t and the text, shared by all views",
    reference="TuneMV3D, supplement B.1",
)

MEAN_VARIANCE = ComponentPlugin(
    slot="aggregator",
    name="mean-variance",
    api="1.0",
    spec=MeanVarianceSpec,
    build="tunemv3d_neus.aggregator:build",
    summary="Mean and variance over the views that see a point, and the share of views that do",
    reference="SparseNeuS, arXiv:2206.05737",
)

VISIBILITY = ComponentPlugin(
    slot="aggregator",
    name="visibility",
    api="1.0",
    spec=VisibilitySpec,
    build="tunemv3d_neus.visibility:build",
    summary="Mean and variance weighed by how well each view seems to see a point",
    reference="IBRNet, arXiv:2102.13090",
)

ATTENTION = ComponentPlugin(
    slot="aggregator",
    name="attention",
    api="1.0",
    spec=AttentionSpec,
    build="tunemv3d_neus.attention:build",
    summary="The mean corrected by multi-head attention over the views that see a point, and their variance",
    reference="Attention is all you need, arXiv:1706.03762",
)

NEUS = ComponentPlugin(
    slot="field",
    name="neus",
    api="1.0",
    spec=NeuSSpec,
    build="tunemv3d_neus.field:build",
    summary="A signed distance and clean latents at every point, rendered by NeuS",
    reference="TuneMV3D, supplement B.1; NeuS, arXiv:2106.10689",
)
