"""The step's one forward against Eq. 3 in float64, and where gradients reach."""

import numpy as np
import pytest
import torch
import train_stand_ins as tiny
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import LossSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SpecError
from tunemv3d_core.slots import Prediction
from tunemv3d_core.types import Text
from tunemv3d_train.loss_sums import LossSums
from tunemv3d_train.step import TrainingStep, at_cells, cell_centres

N, M = 3, 2


def model(field: bool = True) -> MultiviewDiffusion:
    torch.manual_seed(0)
    if not field:
        return MultiviewDiffusion(tiny.TinyBackbone(trainable=True))
    return MultiviewDiffusion(
        tiny.TinyBackbone(), tiny.TinyEncoder(), tiny.TinyField(), tiny.TinyLifter(), tiny.TinyInjector()
    )


def batch(pixels: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    cameras = Cameras.orbit(N + M)[None].expand(2, N + M)
    tensors = {
        "latents": torch.randn(2, N + M, 3, 8, 8, generator=generator),
        "alpha": torch.rand(2, N + M, 8, 8, generator=generator),
        "noise": torch.randn(2, N, 3, 8, 8, generator=generator),
        "t": torch.tensor([[500.0, 0.0, 500.0], [30.0, 30.0, 30.0]]),
        "is_clean": torch.tensor([[False, True, False], [False, False, False]]),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        "tokens": torch.randn(2, 2, 5, generator=generator),
    }
    if pixels:
        tensors["novel_pixels"] = torch.randperm(64, generator=generator)[:10].expand(2, M, 10).contiguous()
    return tensors


def test_cells_and_their_centres_agree_with_the_camera_convention() -> None:
    cells = torch.arange(12).expand(1, 1, 12)
    centres = cell_centres(cells, 3, 4)[0, 0]
    assert centres[5].tolist() == pytest.approx([1.5 / 4, 1.5 / 3])
    maps = torch.arange(12.0).reshape(1, 1, 1, 3, 4)
    assert at_cells(maps, cells).flatten().tolist() == list(range(12))


def noisy(inputs: dict[str, Tensor]) -> Tensor:
    """x_t of the batch: alphabar is the stand-in backbone's line; the view that is given clean keeps its latents."""
    table = np.linspace(0.999, 0.01, 1000, dtype=np.float32).astype(np.float64)
    bar = table[inputs["t"].numpy().astype(int)][..., None, None, None]
    latents, noise = (inputs[name].double().numpy() for name in ("latents", "noise"))
    x_t = np.sqrt(bar) * latents[:, :N] + np.sqrt(1 - bar) * noise
    x_t[0, 1] = latents[0, 1]
    return torch.from_numpy(x_t).float()


def equation_3(inputs: dict[str, Tensor], prediction: Prediction, field: nn.Module) -> dict[str, float]:
    """The terms of Eq. 3 and the mask term in float64, view by view, from what the model gave for whole views."""
    assert prediction.x0 is not None and prediction.rendering is not None
    assert prediction.novel_x0 is not None and prediction.novel is not None
    latents, alpha, noise = (inputs[name].double().numpy() for name in ("latents", "alpha", "noise"))
    modulated = prediction.modulated.detach().double().numpy()
    x0 = torch.cat([prediction.x0, prediction.novel_x0], 1).detach().double().numpy().reshape(2, N + M, 3, 64)
    opacity = torch.cat([prediction.rendering.opacity, prediction.novel.opacity], 1).detach().double().numpy()
    cells = inputs["novel_pixels"].numpy() if "novel_pixels" in inputs else None
    denoise, neus, mask = [], [], []
    for i in range(2):
        for k in range(N + M):
            compared = slice(None) if cells is None or k < N else cells[i, k - N]
            neus.append(np.abs(x0[i, k] - latents[i, k].reshape(3, 64))[:, compared].mean())
            o, a = opacity[i, k].reshape(64)[compared], alpha[i, k].reshape(64)[compared]
            mask.append(-np.mean(a * np.log(o) + (1 - a) * np.log(1 - o)))
            if k < N:
                denoise.append(0.0 if (i, k) == (0, 1) else np.mean((modulated[i, k] - noise[i, k]) ** 2))
    torch.manual_seed(9)
    weight, bias, v = (p.detach().double().numpy() for p in (field.head.weight, field.head.bias, field.v))
    slopes = torch.rand(8, 7).double().numpy() @ weight.T + bias
    eikonal = float(np.mean((slopes - 1) ** 2) * np.exp(v))
    return {"denoise": np.mean(denoise), "neus": np.mean(neus), "mask": np.mean(mask), "eikonal": eikonal}


@pytest.mark.parametrize("pixels", [True, False])
def test_the_forward_is_equation_3(pixels: bool) -> None:
    inputs, whole = batch(pixels), model()
    torch.manual_seed(9)
    spec = LossSpec(denoise=2.0, neus=3.0, mask=0.5, scene={"eikonal": 0.7})
    total, parts = TrainingStep(whole, N, spec)(**inputs)
    cameras = Cameras(inputs["poses"], inputs["intrinsics"])
    prediction = whole(noisy(inputs), inputs["t"], Text(inputs["tokens"]), cameras[:, :N], cameras[:, N:])
    wanted = equation_3(inputs, prediction, whole.field)
    assert {name: float(parts[name]) for name in wanted} == pytest.approx(wanted, rel=1e-5)
    weights = {"denoise": 2.0, "neus": 3.0, "mask": 0.5, "eikonal": 0.7}
    assert total.item() == pytest.approx(sum(weights[name] * wanted[name] for name in weights), rel=1e-5)
    assert not any(part.requires_grad for part in parts.values()) and total.requires_grad


def test_gradients_reach_what_is_trainable_and_nothing_else() -> None:
    step = TrainingStep(model(), N, LossSpec())
    step(**batch())[0].backward()
    touched = {name.split(".")[1] for name, p in step.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert touched == {"view_encoder", "field", "injector"}
    assert all(p.grad is None for p in step.model.backbone.parameters())


def test_without_a_field_the_backbone_is_tuned() -> None:
    step = TrainingStep(model(field=False), N, LossSpec())
    total, parts = step(**batch())
    assert set(parts) == {"loss", "denoise", "denoise/t"}
    total.backward()
    assert all(bool(p.grad.any()) for p in step.parameters() if p.grad is not None)


def test_the_modulated_model_starts_as_the_frozen_one() -> None:
    """At initialisation L_denoise of the step is that of the plain 2D model on the same noise."""
    inputs, whole = batch(), model()
    _, parts = TrainingStep(whole, N, LossSpec())(**inputs)
    x_t = whole.backbone.add_noise(inputs["latents"][:, :N], inputs["noise"], inputs["t"])
    x_t[0, 1] = inputs["latents"][0, 1]
    frozen = whole.frozen(x_t, inputs["t"], Text(inputs["tokens"]))
    errors = (frozen - inputs["noise"]).square().mean((2, 3, 4))
    assert torch.equal(parts["denoise"], (errors * ~inputs["is_clean"]).mean())


def test_losses_are_reported_by_ranges_of_t_and_clean_views_left_out() -> None:
    inputs, whole = batch(), model()
    torch.manual_seed(9)
    _, parts = TrainingStep(whole, N, LossSpec())(**inputs)
    x_t = whole.backbone.add_noise(inputs["latents"][:, :N], inputs["noise"], inputs["t"])
    x_t[0, 1] = inputs["latents"][0, 1]
    frozen = whole.frozen(x_t, inputs["t"], Text(inputs["tokens"]))
    errors = (frozen - inputs["noise"]).square().mean((2, 3, 4))
    # t is 500 (the third of five ranges) in two views that are not clean, and 30 in three.
    assert parts["denoise/t"][1].tolist() == [3, 0, 2, 0, 0]
    torch.testing.assert_close(
        parts["denoise/t"][0], torch.stack([errors[1].sum(), *[errors[0, [0, 2]].sum() * k for k in (0, 1, 0, 0)]])
    )
    assert parts["neus/t"][1].tolist() == parts["mask/t"][1].tolist() == [N + M, 0, N + M, 0, 0]
    for name in ("neus", "mask"):
        assert float(parts[f"{name}/t"][0].sum()) / (2 * (N + M)) == pytest.approx(float(parts[name]), rel=1e-5)


def test_x_prev_is_refused_where_the_schedule_ends_without_signal() -> None:
    dark = model()
    dark.backbone.table[-1] = 0
    TrainingStep(dark, N, LossSpec(weighting="min-snr"))
    with pytest.raises(SpecError, match=r"loss\.target: 'x_prev' has no finite weight"):
        TrainingStep(dark, N, LossSpec(target="x_prev"))


def test_means_over_steps_leave_out_ranges_that_were_not_drawn() -> None:
    levels = torch.tensor([[6.0, 0, 0, 1, 0], [3.0, 0, 0, 2, 0]])
    sums, kept = LossSums(1000), torch.zeros(())
    for loss, level in ((1.0, levels), (3.0, torch.zeros(2, 5))):
        sums.add({"loss": torch.tensor(loss), "neus/t": level}, kept)
    assert sums.read() == ({"loss": 2.0, "neus/t=0-200": 2.0, "neus/t=600-800": 0.5}, 0)
    assert sums.read() == ({}, 0)


def test_means_leave_out_steps_that_are_not_finite() -> None:
    sums = LossSums(1000)
    for loss, bad in ((1.0, 0.0), (float("nan"), 1.0), (7.0, 1.0), (2.0, 0.0)):
        sums.add({"loss": torch.tensor(loss)}, torch.tensor(bad))
    assert sums.read() == ({"loss": 1.5}, 2)
