"""The components that this distribution adds to the registry. Light: imports no torch."""

from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_modulation.spec import CopiedEncoderSpec, DiffusersSpec, DirectSpec, LoRAEncoderSpec, ZeroConvSpec

DIFFUSERS = ComponentPlugin(
    slot="backbone",
    name="diffusers",
    api="1.0",
    spec=DiffusersSpec,
    build="tunemv3d_modulation.backbone:build",
    summary="A frozen Stable Diffusion (1.x, 2.x, XL), split into encoder and decoder.",
    reference="Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022",
)

COPIED_ENCODER = ComponentPlugin(
    slot="lifter",
    name="copied-encoder",
    api="1.0",
    spec=CopiedEncoderSpec,
    build="tunemv3d_modulation.lifter:build",
    summary="A trainable copy of the 2D model's encoder that also sees the raw noisy view.",
    reference="TuneMV3D, supplement B.1",
)

LORA_ENCODER = ComponentPlugin(
    slot="lifter",
    name="lora-encoder",
    api="1.0",
    spec=LoRAEncoderSpec,
    build="tunemv3d_modulation.lora_encoder:build",
    summary="LoRA on the 2D model's frozen encoder, whose weights are shared and not copied.",
    reference="Hu et al., LoRA, ICLR 2022",
)

DIRECT = ComponentPlugin(
    slot="lifter",
    name="direct",
    api="1.0",
    spec=DirectSpec,
    build="tunemv3d_modulation.direct:build",
    summary="The field's own rendered features, averaged down to each map; learns nothing.",
    reference="TuneMV3D, supplement D",
)

ZERO_CONV = ComponentPlugin(
    slot="injector",
    name="zero-conv",
    api="1.0",
    spec=ZeroConvSpec,
    build="tunemv3d_modulation.injector:build",
    summary="One 1x1 convolution per map, zero at the start.",
    reference="TuneMV3D, supplement B.2; Zhang et al., Adding Conditional Control, ICCV 2023",
)
