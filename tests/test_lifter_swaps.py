"""The packaged model with each other lifter in O's place: what must hold whatever stands there."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import LossSpec, RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import PortsError
from tunemv3d_core.io.checkpoint import load_checkpoint, save_checkpoint
from tunemv3d_core.sampling import initial_noise
from tunemv3d_train.step import TrainingStep

QUICK = ["model.field.samples=8", "model.field.hidden=32", "model.field.eikonal_points=32"]
FEATURES = ["model.field.gives=features", "model.field.values=12"]
LIFTERS = {
    "cross-view": ['model.lifter={"type": "copied-encoder", "cross_view_stride": 2}'],
    "lora-encoder": ['model.lifter={"type": "lora-encoder", "rank": 4}'],
    "direct": ['model.lifter={"type": "direct"}', *FEATURES],
}
VIEWS, SIZE = 2, (16, 16)


def swapped(name: str) -> RunSpec:
    return load_spec("chairs-mini", [*QUICK, *LIFTERS[name]])


def built(spec: RunSpec) -> MultiviewDiffusion:
    torch.manual_seed(0)
    return assemble(spec.model).train()


def batch(model: MultiviewDiffusion) -> dict[str, Tensor]:
    """One object of random latents; a step's loss is L_denoise alone unless weighed otherwise."""
    latents, noise = initial_noise([1, 2], VIEWS, 4, SIZE).chunk(2)
    cameras = Cameras.orbit(VIEWS, elevation=15.0)[None]
    return {
        "latents": latents,
        "alpha": torch.zeros(1, VIEWS, *SIZE),
        "noise": noise,
        "t": torch.full((1, VIEWS), 700.0),
        "is_clean": torch.zeros(1, VIEWS, dtype=torch.bool),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        "tokens": model.backbone.encode_text(["a red armchair"]).tokens,
    }


def predictions(model: MultiviewDiffusion) -> tuple[Tensor, Tensor]:
    """Modulated and frozen, of the same noisy views."""
    x_t, t = initial_noise([3], VIEWS, 4, SIZE), torch.full((1, VIEWS), 700.0)
    text = model.backbone.encode_text(["a red armchair"])
    with torch.no_grad():
        modulated = model(x_t, t, text, Cameras.orbit(VIEWS, elevation=15.0)[None]).modulated
        return modulated, model.frozen(x_t, t, text)


def digest(model: MultiviewDiffusion) -> str:
    state = hashlib.sha256()
    for name, tensor in model.backbone.state_dict().items():
        state.update(name.encode() + tensor.numpy().tobytes())
    return state.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LIFTERS))
def test_training_by_modulation_alone_reaches_everything_and_moves_nothing_frozen(name: str) -> None:
    model = built(swapped(name))
    before = digest(model)
    modulated, frozen = predictions(model)
    assert torch.equal(modulated, frozen)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    step, inputs = TrainingStep(model, VIEWS, LossSpec(neus=0)), batch(model)
    for _ in range(3):
        optimizer.zero_grad()
        step(**inputs)[0].backward()
        optimizer.step()
    optimizer.zero_grad()
    step(**inputs)[0].backward()
    dead = {name for name, p in parameters.items() if p.grad is None or not bool(p.grad.any())}
    assert not dead, f"no gradient after three steps: {sorted(dead)}"
    again, frozen_again = predictions(model)
    assert torch.equal(frozen_again, frozen) and not torch.equal(again, frozen)
    assert digest(model) == before


@pytest.mark.slow
def test_a_lora_checkpoint_holds_no_frozen_weight_and_comes_back(tmp_path: Path) -> None:
    spec = swapped("lora-encoder")
    model = built(spec).eval()
    with torch.no_grad():
        for parameter in (p for p in model.parameters() if p.requires_grad):
            parameter.add_(0.01 * torch.randn_like(parameter))
    folder = save_checkpoint(tmp_path / "tuned", model, spec)
    with safe_open(folder / "model.safetensors", "pt") as stored:
        names = set(stored.keys())
    assert names == {name for name, p in model.named_parameters() if p.requires_grad}
    loaded_spec, loaded = load_checkpoint(folder)
    assert loaded_spec == spec
    assert torch.equal(predictions(loaded)[0], predictions(model)[0])


def test_direct_and_a_field_of_latents_are_refused_by_name() -> None:
    spec = load_spec("chairs-mini", [*QUICK, *LIFTERS["direct"][:1]])
    with pytest.raises(
        PortsError, match=r"lifter 'direct' takes values of kind 'features', but field 'neus' gives 'lat"
    ):
        assemble(spec.model)
