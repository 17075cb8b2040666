"""What our components offer ``train.compile``: traced without generated code, and on a GPU whole runs with it."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import tiny_pipelines
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch._dynamo.utils import counters

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import LossSpec, ModelSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_train.compilation import LIMITS, attach
from tunemv3d_train.step import TrainingStep
from tunemv3d_train.trainer import Outcome, train

VIEWS, SIZE = 2, (8, 8)
GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test has compiled is of no use to the next."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipelines.save(tmp_path_factory.mktemp("pipelines") / "mini", "mini")


def built(folder: Path, lifter: str) -> MultiviewDiffusion:
    """Every part is there, with gradient checkpointing; the injector has moved, so that gradients go through all."""
    spec = {
        "backbone": {"type": "diffusers", "pretrained": str(folder), "gradient_checkpointing": True},
        "view_encoder": {"type": "resattn", "channels": [16, 32], "blocks": 1, "head_channels": 16, "groups": 8},
        "field": {"type": "neus", "aggregator": {"type": "mean-variance"}, "samples": 4, "hidden": 32, "blocks": 3},
        "lifter": {"type": lifter, "stem_channels": 8, "gradient_checkpointing": True},
        "injector": {"type": "zero-conv"},
    }
    torch.manual_seed(0)
    model = assemble(ModelSpec.model_validate(spec)).train()
    with torch.no_grad():
        for parameter in model.injector.parameters():
            parameter.normal_(std=0.1)
    return model


def trained(model: MultiviewDiffusion) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of a step of one object."""
    torch.manual_seed(1)
    cameras = Cameras.orbit(2 * VIEWS, elevation=15.0)[None]
    batch = {
        "latents": torch.randn(1, 2 * VIEWS, 4, *SIZE),
        "alpha": torch.rand(1, 2 * VIEWS, *SIZE),
        "noise": torch.randn(1, VIEWS, 4, *SIZE),
        "t": torch.full((1, VIEWS), 700.0),
        "is_clean": torch.zeros(1, VIEWS, dtype=torch.bool),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        "tokens": model.backbone.encode_text(["a red chair"]).tokens,
    }
    loss, _ = TrainingStep(model, VIEWS, LossSpec(scene={"eikonal": 0.1, "sparsity": 0}))(**batch)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad(set_to_none=True)
    return loss.detach(), gradients


@pytest.mark.slow
@pytest.mark.parametrize(("lifter", "whole"), [("copied-encoder", True), ("lora-encoder", False)])
def test_traced_steps_have_the_same_gradients(folder: Path, lifter: str, whole: bool) -> None:
    model = built(folder, lifter)
    names, (loss, gradients) = list(model.state_dict()), trained(model)
    counters.clear()
    assert attach(model, whole) and list(model.state_dict()) == names
    with torch._dynamo.config.patch(LIMITS), torch.compiler.set_stance("default", force_backend="aot_eager"):
        traced, graphs = trained(model), counters["stats"]["unique_graphs"]
        again = trained(model)
    assert graphs >= (8 if whole else 20)
    if not whole:  # the whole has the field, whose number of rays changes on a processor
        assert not counters["graph_break"] and counters["stats"]["unique_graphs"] == graphs
    for result in (traced, again):
        torch.testing.assert_close(result[0], loss)
        assert result[1].keys() == gradients.keys() and len(gradients) > 100
        for name, gradient in gradients.items():
            torch.testing.assert_close(result[1][name], gradient, rtol=1e-3, atol=1e-5, msg=name)


def at_zero(model: MultiviewDiffusion) -> tuple[Tensor, Tensor]:
    """The modulated prediction while the injector is zero, and the frozen model's."""
    with torch.no_grad():
        for parameter in model.injector.parameters():
            parameter.zero_()
        generator = torch.Generator().manual_seed(2)
        x_t = torch.randn(1, VIEWS, 4, *SIZE, generator=generator).to(model.device)
        t, text = torch.full((1, VIEWS), 700.0, device=model.device), model.backbone.encode_text(["a red chair"])
        cameras = Cameras.orbit(VIEWS, elevation=15.0)[None].to(model.device)
        return model(x_t, t, text, cameras).modulated.float(), model.frozen(x_t, t, text).float()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("device", "precision", "tolerance"),
    [
        ("cpu", torch.float32, 1e-5),
        pytest.param("cuda", torch.float32, 1e-4, marks=GPU),
        pytest.param("cuda", torch.bfloat16, 0.02, marks=GPU),
    ],
)
def test_at_the_start_it_is_the_frozen_model_plainly_bit_for_bit_and_compiled_within_rounding(
    folder: Path, device: str, precision: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(folder, "copied-encoder").to(device)
    half = torch.autocast(device, precision, enabled=precision != torch.float32)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)  # has three digits, by other algorithms others
    with half:
        plain, frozen = at_zero(model)
    assert torch.equal(plain, frozen) and attach(model, whole=False)
    stance = {"force_backend": "aot_eager"} if device == "cpu" else {}
    with half, torch._dynamo.config.patch(LIMITS), torch.compiler.set_stance("default", **stance):
        compiled, compiled_frozen = at_zero(model)
    scale = float(frozen.square().mean().sqrt())
    assert float((compiled - frozen).square().mean().sqrt()) <= tolerance * scale
    assert float((compiled - compiled_frozen).square().mean().sqrt()) <= tolerance * scale
    with half, torch.compiler.set_stance("force_eager"):
        assert torch.equal(at_zero(model)[0], frozen)


def given(lifter: str) -> list[str]:
    recomputed = [f"model.{part}.gradient_checkpointing=true" for part in ("backbone", "lifter")]
    short = ["train.precision=bf16", "train.steps=30", "sample.steps=1", "train.checkpoint_every=30"]
    return [f'model.lifter={{"type": "{lifter}"}}', *recomputed, *short]


@pytest.fixture(scope="module")
def plainly(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Outcome]:
    """Plain runs, one for each lifter."""
    return cache(lambda lifter: train(load_spec("chairs-mini", given(lifter)), tmp_path_factory.mktemp(lifter) / "run"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("mode", ["regions", "max"])
@pytest.mark.parametrize("lifter", ["copied-encoder", "lora-encoder"])
def test_compiled_runs_learn_what_plain_ones_learn(
    lifter: str,
    mode: str,
    captured: bool,
    plainly: Callable[[str], Outcome],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = plainly(lifter)
    capsys.readouterr()
    options = [f"train.compile={mode}", f"train.cuda_graph={str(captured).lower()}"]
    compiled = train(load_spec("chairs-mini", [*given(lifter), *options]), tmp_path / "compiled")
    assert "off, because" not in capsys.readouterr().err
    first, second = (load_file(run.checkpoint / "model.safetensors") for run in (plain, compiled))
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0.1, atol=0.02, msg=name)
    assert compiled.before == plain.before and compiled.after["neus"] == pytest.approx(plain.after["neus"], rel=0.05)
