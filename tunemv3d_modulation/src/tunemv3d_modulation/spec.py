"""Options of this package's components. Light: imports no torch."""

from typing import ClassVar, Literal

from pydantic import Field

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import Block


class LoraFile(Block):
    """Low-rank changes of the 2D model that a user has."""

    path: str = Field(min_length=1)
    """A .safetensors file in diffusers' or kohya's format."""

    scale: float = 1.0
    """Factor on what is added."""


class DiffusersSpec(ComponentSpec):
    """A frozen Stable Diffusion 1.x, 2.x or XL model in diffusers' folder format or in one file."""

    type: Literal["diffusers"]
    """Name of the component."""

    pretrained_options: ClassVar[tuple[str, ...]] = ("config", "revision", "variant", "pickle")

    pretrained: str
    """Name of a packaged asset, a local folder, a local .safetensors file in the original layout, or an id on the
    Hugging Face hub; looked up in this order. A published checkpoint may leave it empty: then --base says it."""

    config: str | None = None
    """For a single file: the pipeline folder or hub id with its configs and tokenizers; None takes the usual hub id."""

    revision: str | None = None
    """Branch, tag or commit on the hub; None takes the default branch. Local folders have none."""

    variant: str | None = None
    """Word in the names of the weights' files, such as "fp16"; parts without such files take the plain ones. None takes
    the plain ones, or those in half precision where there are no others."""

    pickle: bool = False
    """Also take weights stored as pickles (.bin). They are read by torch's weights_only: no code in them is run."""

    lora: tuple[LoraFile, ...] = ()
    """LoRA weights that are added to the UNet and the text encoders before anything else happens."""

    trainable: Literal["none", "lora", "all"] = "none"
    """"none" keeps the whole 2D model frozen (paper B.2); "lora" trains low-rank changes of the UNet's attention,
    "all" its weights. Text encoders and VAE stay frozen."""

    lora_rank: int = Field(default=8, ge=1)
    """Rank of the changes that "trainable": "lora" trains."""

    gradient_checkpointing: bool = False
    """Let training's backward pass run the UNet's blocks again instead of keeping what they computed: less memory, more
    time, the same gradients. Of a frozen model this is its decoder; its encoder keeps nothing anyway."""


class CopiedEncoderSpec(ComponentSpec):
    """O: a trainable copy of the 2D model's encoder (paper B.1)."""

    type: Literal["copied-encoder"]
    """Name of the component."""

    raw_noise: bool = True
    """Add a light encoder of the noisy view x_t after O's first layer (paper B.1; the ablation in D is False)."""

    stem_channels: int = Field(default=32, ge=1)
    """Width of that light encoder in channels."""

    cross_view_stride: int | None = Field(default=None, ge=1)
    """Let the cells of all views of an object attend to each other on every map of at least this stride, in latent
    cells (Stable Diffusion has maps of strides 1, 2, 4 and 8); None: nowhere, as in the paper."""

    gradient_checkpointing: bool = False
    """Let training's backward pass run O's blocks again instead of keeping what they computed: less memory, more time,
    the same gradients."""


class LoRAEncoderSpec(ComponentSpec):
    """O as LoRA on the 2D model's frozen encoder, for those who cannot afford a copy of it. Not in the paper."""

    type: Literal["lora-encoder"]
    """Name of the component."""

    rank: int = Field(default=64, ge=1)
    """Rank of the update of every linear layer and convolution; 64 trains 27.6 million weights for Stable Diffusion
    1.5 instead of the copy's 349 million."""

    raw_noise: bool = True
    """Add a light encoder of the noisy view x_t after O's first layer (paper B.1; the ablation in D is False)."""

    stem_channels: int = Field(default=32, ge=1)
    """Width of that light encoder in channels."""

    gradient_checkpointing: bool = False
    """Let training's backward pass run O's blocks again instead of keeping what they computed: less memory, more time,
    the same gradients."""


class DirectSpec(ComponentSpec):
    """Rendered features as feature maps, without x0 and O (the paper's ablation in D). It has no options."""

    type: Literal["direct"]
    """Name of the component."""


class ZeroConvSpec(ComponentSpec):
    """1x1 convolutions whose weights and biases start at zero (paper B.2, Eq. 2)."""

    type: Literal["zero-conv"]
    """Name of the component."""
