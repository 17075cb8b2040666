"""Gradient checkpointing of O and of the frozen decoder: the same gradients from fewer numbers that are kept."""

from pathlib import Path
from typing import Any

import pytest
import tiny_pipelines
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from toy_model import CONTEXT, load, model_around, toy_inputs

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import PortsError
from tunemv3d_modulation.lifter import EncoderLifter
from tunemv3d_modulation.spec import CopiedEncoderSpec, LoRAEncoderSpec

LIFTERS = {
    "copied-encoder": CopiedEncoderSpec(type="copied-encoder", stem_channels=8),
    "lora-encoder": LoRAEncoderSpec(type="lora-encoder", rank=3, stem_channels=8),
}
BOTH = {"backbone": True, "lifter": True}


@pytest.fixture(scope="module")
def drops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline whose UNet drops a fifth of what it computes while it is trained."""
    return tiny_pipelines.save(tmp_path_factory.mktemp("drops") / "mini", "mini", dropout=0.2)


def model_of(folder: Path, kind: str, *, trainable: str = "none", **recomputed: bool) -> MultiviewDiffusion:
    base = load(folder, trainable=trainable, gradient_checkpointing=recomputed.get("backbone", False))
    options = {"gradient_checkpointing": recomputed.get("lifter", False)}
    model = model_around(base, LIFTERS[kind].model_copy(update=options)).train()
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("backbone.") and parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.1)
    return model


def trained(model: MultiviewDiffusion, size: int = 8) -> tuple[Tensor, dict[str, Tensor], int]:
    """The loss, all gradients, and the bytes that the forward pass kept, weights apart."""
    inputs: dict[str, Any] = toy_inputs(model)
    inputs["x_t"] = torch.randn(2, 3, 4, size, size, generator=torch.Generator().manual_seed(2)).to(model.dtype)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            kept[place] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(7)
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**inputs).modulated.square().mean()
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}, sum(kept.values())


@pytest.mark.parametrize("lifter", sorted(LIFTERS))
@pytest.mark.parametrize("kind", ["mini", pytest.param("sdxl", marks=pytest.mark.slow)])
def test_gradients_are_the_same_bit_for_bit(folders: dict[str, Path], kind: str, lifter: str) -> None:
    plain, again = (trained(model_of(folders[kind], lifter, **chosen)) for chosen in ({}, BOTH))
    assert torch.equal(plain[0], again[0]) and plain[1].keys() == again[1].keys() and len(plain[1]) > 10
    assert all(torch.equal(again[1][name], gradient) for name, gradient in plain[1].items())


@pytest.mark.slow
@pytest.mark.parametrize("trainable", ["none", "all"])
def test_what_is_dropped_is_dropped_again(drops: Path, trainable: str) -> None:
    plain, again = (trained(model_of(drops, "copied-encoder", trainable=trainable, **c)) for c in ({}, BOTH))
    assert all(torch.equal(again[1][name], gradient) for name, gradient in plain[1].items())
    quiet = model_of(drops, "copied-encoder", trainable=trainable).eval()
    assert not torch.equal(trained(quiet)[0], plain[0])


def test_each_part_keeps_less(folders: dict[str, Path]) -> None:
    kept = {
        which: trained(model_of(folders["mini"], "copied-encoder", **dict.fromkeys(which, True)), size=16)[2]
        for which in ((), ("backbone",), ("lifter",), ("backbone", "lifter"))
    }
    decoder, lifter = kept[()] - kept["backbone",], kept[()] - kept["lifter",]
    assert min(decoder, lifter) > 0.2 * kept[()]
    assert kept["backbone", "lifter"] == kept[()] - decoder - lifter < 0.5 * kept[()]


def test_a_copy_does_as_its_own_option_says(folders: dict[str, Path]) -> None:
    def recomputes(module: nn.Module) -> bool:
        return any(getattr(each, "gradient_checkpointing", False) for each in module.modules())

    model = model_of(folders["mini"], "lora-encoder", backbone=True)
    assert recomputes(model.backbone.unet) and not recomputes(model.lifter)
    model = model_of(folders["mini"], "lora-encoder", lifter=True)
    assert recomputes(model.lifter) and not recomputes(model.backbone)


def test_without_gradients_nothing_changes(folders: dict[str, Path]) -> None:
    plain, again = (model_of(folders["mini"], "copied-encoder", **c).eval() for c in ({}, BOTH))
    with torch.no_grad():
        assert torch.equal(plain(**toy_inputs(plain)).modulated, again(**toy_inputs(again)).modulated)


def test_an_encoder_that_cannot_is_refused(folders: dict[str, Path]) -> None:
    context = CONTEXT.__class__(CONTEXT.device, backbone=load(folders["mini"]))
    spec = LIFTERS["copied-encoder"].model_copy(update={"gradient_checkpointing": True})
    with pytest.raises(PortsError, match=r"'copied-encoder': gradient_checkpointing: .* leave the option off"):
        EncoderLifter(nn.Identity(), spec, context)
