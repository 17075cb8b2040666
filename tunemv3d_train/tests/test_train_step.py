"""The step's one forward against its parts put together by hand, and where gradients reach."""

from typing import Any

import pytest
import torch
import train_stand_ins as tiny
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import LossSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SpecError
from tunemv3d_core.types import Text
from tunemv3d_train import losses
from tunemv3d_train.step import TrainingStep, at_cells, cell_centres
from tunemv3d_train.trainer import mean_losses

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


@pytest.mark.parametrize("pixels", [True, False])
def test_the_forward_is_equation_3(pixels: bool) -> None:
    inputs, whole = batch(pixels), model()
    weights = LossSpec(denoise=2.0, neus=3.0, mask=0.5, eikonal=0.7)
    torch.manual_seed(9)
    total, parts = TrainingStep(whole, N, weights)(**inputs)
    cameras = Cameras(inputs["poses"], inputs["intrinsics"])
    x_t = whole.backbone.add_noise(inputs["latents"][:, :N], inputs["noise"], inputs["t"])
    x_t[0, 1] = inputs["latents"][0, 1]
    torch.manual_seed(9)
    seen = whole(x_t, inputs["t"], Text(inputs["tokens"]), cameras[:, :N], cameras[:, N:])
    assert seen.x0 is not None and seen.novel_x0 is not None and seen.rendering is not None and seen.novel is not None
    per_view = (seen.modulated - inputs["noise"]).square().mean((2, 3, 4))
    denoise = (per_view.sum() - per_view[0, 1]) / 6
    cells = inputs.get("novel_pixels", torch.arange(64).expand(2, M, 64))
    novel, target = at_cells(seen.novel_x0, cells), at_cells(inputs["latents"][:, N:], cells)
    neus = losses.neus(seen.x0, inputs["latents"][:, :N], novel, target).mean()
    opacity = at_cells(seen.novel.opacity[:, :, None], cells)
    alpha = at_cells(inputs["alpha"][:, N:, None], cells)
    mask = losses.mask(seen.rendering.opacity, inputs["alpha"][:, :N], opacity, alpha).mean()
    torch.manual_seed(9)
    eikonal = seen.scene.losses()["eikonal"]
    expected: dict[str, Any] = {"denoise": denoise, "neus": neus, "mask": mask, "eikonal": eikonal}
    for name, value in expected.items():
        assert float(parts[name]) == pytest.approx(value.item(), rel=1e-5), name
    assert total.item() == pytest.approx((2 * denoise + 3 * neus + 0.5 * mask + 0.7 * eikonal).item(), rel=1e-5)
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
    expected = losses.denoise(frozen, inputs["noise"], torch.ones(2, N), inputs["is_clean"])
    assert torch.equal(parts["denoise"], expected)


def test_losses_are_told_by_ranges_of_t_and_clean_views_left_out() -> None:
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
    means = mean_losses({"loss": torch.tensor(4.0), "neus/t": levels}, 2, 1000)
    assert means == {"loss": 2.0, "neus/t=0-200": 2.0, "neus/t=600-800": 0.5}
