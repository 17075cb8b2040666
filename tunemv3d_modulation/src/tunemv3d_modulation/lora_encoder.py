"""The lifter ``lora-encoder``: O as LoRA on the 2D model's frozen encoder, whose weights it shares."""

from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, Neighbours
from tunemv3d_modulation.lifter import EncoderLifter
from tunemv3d_modulation.spec import LoRAEncoderSpec


def build(spec: LoRAEncoderSpec, neighbours: Neighbours, context: BuildContext) -> EncoderLifter:
    """Build O around the encoder of the backbone in ``context``.

    Raises:
        PortsError: the backbone trains its encoder, which LoRA would freeze, or its blocks cannot be run again in the
            backward pass.
    """
    encoder = context.backbone.copy_encoder(share=True)
    if any(parameter.requires_grad for parameter in encoder.parameters()):
        raise PortsError(
            "lifter 'lora-encoder' shares the 2D model's encoder, which must be frozen, but this backbone trains it: "
            "set model.backbone.trainable to 'none', or use the lifter 'copied-encoder'"
        )
    return EncoderLifter(add_lora(encoder, spec.rank), spec, context)


def add_lora(encoder: nn.Module, rank: int) -> nn.Module:
    """Add low-rank updates to every linear layer and convolution, in place.

    Convolutions too, not attention alone: a clean render at a high t is foreign to the encoder from its first layer on.
    The updates' second factors start at zero, so that the encoder gives what it gave before, bit for bit.
    """
    layers = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=layers)
    adapted: nn.Module = inject_adapter_in_model(config, encoder)
    return adapted
