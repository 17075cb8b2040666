"""The packaged model, assembled from its spec: what must hold across packages."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec, SampleSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.sampling import initial_noise, sample
from tunemv3d_core.types import Text


@pytest.fixture(scope="module")
def spec() -> RunSpec:
    """chairs-mini with a field that is quick to evaluate."""
    return load_spec("chairs-mini", ["model.field.samples=8", "model.field.hidden=32", "model.field.eikonal_points=32"])


@pytest.fixture
def model(spec: RunSpec) -> MultiviewDiffusion:
    torch.manual_seed(0)
    return assemble(spec.model).eval()


def inputs(model: MultiviewDiffusion, views: int = 3, t: float = 700.0) -> tuple[Tensor, Tensor, Text, Cameras]:
    x_t = initial_noise([1], views, 4, (32, 32))
    cameras = Cameras.orbit(views, elevation=15.0)[None]
    return x_t, torch.full((1, views), t), model.backbone.encode_text(["a red armchair"]), cameras


def gradient_steps(model: MultiviewDiffusion, steps: int) -> Iterator[set[str]]:
    """Names of the parameters with a gradient that is not zero, after each backward pass."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3)
    x_t, t, text, cameras = inputs(model)
    for _ in range(steps):
        prediction = model(x_t, t, text, cameras)
        loss = (prediction.modulated - x_t.roll(1, 1)).square().mean() + (prediction.x0 - x_t).abs().mean()
        loss = loss + prediction.scene.losses()["eikonal"]
        optimizer.zero_grad()
        loss.backward()
        yield {name for name, p in parameters.items() if p.grad is not None and bool((p.grad != 0).any())}
        optimizer.step()


@pytest.mark.slow
def test_at_the_start_it_is_the_frozen_model_bit_for_bit(model: MultiviewDiffusion) -> None:
    x_t, t, text, cameras = inputs(model)
    assert torch.equal(model(x_t, t, text, cameras).modulated, model.frozen(x_t, t, text))


@pytest.mark.slow
def test_no_consistency_after_training_is_the_frozen_model_bit_for_bit(model: MultiviewDiffusion) -> None:
    frozen_before = {name: p.clone() for name, p in model.backbone.named_parameters()}
    for _ in gradient_steps(model.train(), 3):
        pass
    model.eval()
    x_t, t, text, cameras = inputs(model)
    with torch.no_grad():
        frozen = model.frozen(x_t, t, text)
        assert torch.equal(model.predict(x_t, t, text, cameras, 0.0).modulated, frozen)
        assert not torch.equal(model.predict(x_t, t, text, cameras, 1.0).modulated, frozen)
    assert all(torch.equal(p, frozen_before[name]) for name, p in model.backbone.named_parameters())


@pytest.mark.slow
def test_gradients_reach_the_injector_then_the_lifter_then_everything(model: MultiviewDiffusion) -> None:
    first, second, third = gradient_steps(model.train(), 3)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {n for n in trainable if n.startswith("injector.")} <= first
    assert not {n for n in first if n.startswith("lifter.")}
    assert {n for n in trainable if n.startswith("lifter.")} - second <= {n for n in trainable if ".stem" in n}
    assert {n for n in trainable if n.startswith("field.network.value_out")} <= second
    never = trainable - first - second - third
    assert not never, f"no gradient after three steps: {sorted(never)}"


@pytest.mark.slow
def test_permuting_the_views_permutes_the_prediction(model: MultiviewDiffusion) -> None:
    nudge(model)
    x_t, t, text, cameras = inputs(model)
    order = [2, 0, 1]
    with torch.no_grad():
        straight = model(x_t, t, text, cameras)
        turned = model(x_t[:, order], t[:, order], text, cameras[:, order])
    assert torch.allclose(turned.modulated, straight.modulated[:, order], atol=1e-4)
    assert torch.allclose(turned.x0, straight.x0[:, order], atol=1e-4)


@pytest.mark.slow
def test_each_condition_has_its_effect(model: MultiviewDiffusion) -> None:
    """Text, t, one camera and one other view each change the first view's prediction."""
    nudge(model)
    x_t, t, text, cameras = inputs(model)
    other_view, other_camera = x_t.clone(), cameras.camera_to_world.clone()
    other_view[:, 2] = 0
    other_camera[:, 2] = Cameras.orbit(1, azimuth=200.0, elevation=50.0).camera_to_world
    with torch.no_grad():
        base = model(x_t, t, text, cameras)
        changed = {
            "text": model(x_t, t, model.backbone.encode_text(["a blue office chair"]), cameras),
            "t": model(x_t, t * 0.5, text, cameras),
            "another view": model(other_view, t, text, cameras),
            "another camera": model(x_t, t, text, Cameras(other_camera, cameras.intrinsics)),
        }
        frozen = model.frozen(x_t, t, text), model.frozen(other_view, t, text)
    for what, prediction in changed.items():
        assert (prediction.modulated[:, 0] - base.modulated[:, 0]).abs().max() > 1e-5, what
    assert torch.allclose(frozen[0][:, :2], frozen[1][:, :2], atol=1e-5), "frozen views do not know of each other"


@pytest.mark.slow
def test_samples_depend_on_their_own_seed_alone(model: MultiviewDiffusion) -> None:
    nudge(model)
    cameras = Cameras.orbit(2)
    text, empty = model.backbone.encode_text(["a red armchair", "a stool"]), model.backbone.encode_text(["", ""])
    options = SampleSpec(steps=2, scheduler="ddim", guidance=3.0, consistency=1.5)
    both = sample(model, text, cameras[None].expand(2, 2), [5, 6], options, negative=empty)
    text, empty = (words.map(lambda x: x[1:]) for words in (text, empty))
    alone = sample(model, text, cameras[None], [6], options, negative=empty)
    assert torch.allclose(both[1:], alone, atol=1e-3)


def nudge(model: MultiviewDiffusion) -> None:
    """Small random weights wherever training would have left zero, so that every path carries a signal."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and not bool(module.weight.any()):
                module.weight.copy_(0.05 * torch.randn(module.weight.shape, generator=generator))
