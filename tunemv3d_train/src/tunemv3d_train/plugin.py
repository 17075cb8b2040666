"""Descriptors of this distribution's components. Light: imports no torch."""

from pathlib import Path

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_train.spec import AdamW8bitSpec, AdamWSpec, ConstantSpec, CosineSpec, MultiviewSpec, ShardsSpec

MULTIVIEW = ComponentPlugin(
    slot="dataset",
    name="multiview",
    api="1.0",
    spec=MultiviewSpec,
    build="tunemv3d_train.multiview:build",
    summary="RGBA pictures with cameras and captions (transforms.json), as tunemv3d data render writes them.",
)

SHARDS = ComponentPlugin(
    slot="dataset",
    name="shards",
    api="1.0",
    spec=ShardsSpec,
    build="tunemv3d_train.shards:build",
    summary="Objects in WebDataset shards on disk or at an address, streamed; tunemv3d data pack writes them.",
)

ADAMW = ComponentPlugin(
    slot="optimizer",
    name="adamw",
    api="1.0",
    spec=AdamWSpec,
    build="tunemv3d_train.adamw:build",
    summary="AdamW, fused, as part of a CUDA graph where a run asks for one.",
    reference="Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv:1711.05101",
)

ADAMW_8BIT = ComponentPlugin(
    slot="optimizer",
    name="adamw-8bit",
    api="1.0",
    spec=AdamW8bitSpec,
    build="tunemv3d_train.adamw_8bit:build",
    summary="AdamW with moments of 8 bits, by bitsandbytes (the extra 8bit); no CUDA graph can hold it.",
    reference="Dettmers et al., 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861",
)

CONSTANT = ComponentPlugin(
    slot="schedule",
    name="constant",
    api="1.0",
    spec=ConstantSpec,
    build="tunemv3d_train.schedules:build_constant",
    summary="The same learning rate throughout.",
)

COSINE = ComponentPlugin(
    slot="schedule",
    name="cosine",
    api="1.0",
    spec=CosineSpec,
    build="tunemv3d_train.schedules:build_cosine",
    summary="Constant for a share of the steps, then along half a cosine to zero.",
    reference="Loshchilov and Hutter, SGDR, arXiv:1608.03983",
)

_SPECS = Path(__file__).parent / "specs"

ABLATION_CROSS_VIEW_ATTENTION = _SPECS / "ablation-cross-view-attention.json"
ABLATION_DIRECT_FEATURES = _SPECS / "ablation-direct-features.json"
ABLATION_FOUR_VIEWS = _SPECS / "ablation-four-views.json"
ABLATION_NO_NEUS_LOSS = _SPECS / "ablation-no-neus-loss.json"
ABLATION_NO_NOVEL_VIEWS = _SPECS / "ablation-no-novel-views.json"
ABLATION_NO_RAW_NOISE = _SPECS / "ablation-no-raw-noise.json"
ABLATION_TWO_VIEWS = _SPECS / "ablation-two-views.json"
BASELINE_2D = _SPECS / "baseline-2d.json"
PAPER_MINI_OBJAVERSE = _SPECS / "paper-mini-objaverse.json"
PAPER_MINI_OBJAVERSE_LETTER = _SPECS / "paper-mini-objaverse-letter.json"
PAPER_SHAPENET_CHAIR = _SPECS / "paper-shapenet-chair.json"
PAPER_SHAPENET_CHAIR_LETTER = _SPECS / "paper-shapenet-chair-letter.json"
SD15_24GB = _SPECS / "sd15-24gb.json"
