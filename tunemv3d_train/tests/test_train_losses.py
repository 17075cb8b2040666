"""The losses against plain loops in float64 and closed forms from the schedule's betas."""

import math

import pytest
import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SpecError
from tunemv3d_core.slots import Prediction, Targets
from tunemv3d_core.types import Rendering, Text
from tunemv3d_train import losses

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ALPHAS_CUMPROD = torch.cumprod(1 - BETAS, 0)


def schedule(t: Tensor) -> Tensor:
    return ALPHAS_CUMPROD[t.long()]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def truth(latents: Tensor, **given: Tensor) -> Targets:
    """Targets of these latents ``b n c h w``; what the losses under test do not read is zero."""
    b, n, _, h, w = latents.shape
    zeros, cameras = latents.new_zeros(b, n), Cameras.orbit(n)[None].expand(b, n)
    rest = {"alpha": latents.new_zeros(b, n, h, w), "x_t": latents, "prediction": latents, "t": zeros}
    return Targets(latents, is_clean=zeros > 0, text=Text(zeros), cameras=cameras, **(rest | given))


def rendered(opacity: Tensor) -> Rendering:
    return Rendering(opacity[:, :, None], opacity, opacity)


def test_denoise_leaves_clean_views_out_and_keeps_the_denominator() -> None:
    prediction, target = random(2, 3, 4, 5, 5), random(2, 3, 4, 5, 5, seed=1)
    weight = random(2, 3, seed=2).abs()
    is_clean = torch.tensor([[False, True, False], [False, False, True]])
    expected = 0.0
    for b in range(2):
        for n in range(3):
            if not is_clean[b, n]:
                pairs = zip(prediction[b, n].flatten().tolist(), target[b, n].flatten().tolist(), strict=True)
                error = [(p - q) ** 2 for p, q in pairs]
                expected += float(weight[b, n]) * sum(error) / len(error)
    errors = losses.denoise(Prediction(prediction), truth(target))
    assert float(losses.weighed(errors, weight, is_clean)) == pytest.approx(expected / 6, rel=1e-12)


def test_neus_weighs_every_view_alike_however_many_cells_it_shows() -> None:
    inputs, target = random(2, 3, 4, 5, 5), random(2, 3, 4, 5, 5, seed=1)
    novel, novel_target = random(2, 2, 4, 7, seed=2), random(2, 2, 4, 7, seed=3)
    per_view = []
    for given, wanted in ((inputs, target), (novel, novel_target)):
        for b in range(2):
            for n in range(given.shape[1]):
                pairs = zip(given[b, n].flatten().tolist(), wanted[b, n].flatten().tolist(), strict=True)
                errors = [abs(p - q) for p, q in pairs]
                per_view.append(sum(errors) / len(errors))
    expected = sum(per_view) / len(per_view)
    whole = losses.neus(Prediction(inputs, inputs, novel_x0=novel), truth(target, novel_latents=novel_target))
    assert float(whole.mean()) == pytest.approx(expected, rel=1e-12)
    alone = losses.neus(Prediction(inputs, inputs), truth(target))
    assert float(alone.mean()) == pytest.approx(sum(per_view[:6]) / 6, rel=1e-12)


def test_mask_is_the_cross_entropy_of_a_coin() -> None:
    opacity = torch.tensor([[[[0.2, 0.9]], [[0.5, 0.5]]]], dtype=torch.float64)
    alpha = torch.tensor([[[[0.0, 1.0]], [[0.25, 0.75]]]], dtype=torch.float64)
    latents = torch.zeros(1, 2, 3, 1, 2, dtype=torch.float64)
    expected = [-(math.log(0.8) + math.log(0.9)) / 2, -math.log(0.5)]
    prediction = Prediction(latents, rendering=rendered(opacity), novel=rendered(opacity[:, 1:, 0, :1]))
    errors = losses.mask(prediction, truth(latents, alpha=alpha, novel_alpha=alpha[:, 1:, 0, :1]))
    assert errors[0].tolist() == pytest.approx([*expected, -math.log(0.5)], rel=1e-12)
    wrong = losses.mask(Prediction(latents, rendering=rendered(alpha.round())), truth(latents, alpha=1 - alpha.round()))
    assert math.isfinite(float(wrong.mean()))


def test_errors_fall_into_equal_ranges_of_t() -> None:
    errors, t = random(2, 3).abs(), torch.tensor([[0.0, 199.9, 200.0], [999.0, 450.5, 999.0]])
    counted = torch.tensor([[True, True, True], [True, True, False]])
    sums, counts = losses.by_level(errors, counted, t, 1000)
    e = errors.tolist()
    assert counts.tolist() == [2, 1, 1, 0, 1]
    assert sums.tolist() == pytest.approx([e[0][0] + e[0][1], e[0][2], e[1][1], 0, e[1][0]])
    assert [losses.level_name(k, 1000) for k in (0, 4)] == ["t=0-200", "t=800-1000"]


def test_x_prev_weight_is_what_the_posterior_mean_makes_of_an_epsilon_error() -> None:
    x_t, epsilon, wrong = random(1), random(1, seed=1), random(1, seed=2)
    weigh = losses.weigher("epsilon", "x_prev", "uniform", schedule)
    for t in (1, 50, 500, 999):
        beta, alpha, bar = BETAS[t], 1 - BETAS[t], ALPHAS_CUMPROD[t]

        def mean(eps: Tensor, beta: Tensor = beta, alpha: Tensor = alpha, bar: Tensor = bar) -> Tensor:
            return (x_t - beta / (1 - bar).sqrt() * eps) / alpha.sqrt()

        expected = (mean(epsilon) - mean(wrong)).square() / (epsilon - wrong).square()
        assert float(weigh(torch.tensor([[float(t)]]))) == pytest.approx(float(expected), rel=1e-6)


def test_x_prev_weights_have_the_size_that_is_known_for_stable_diffusion() -> None:
    weight = losses.weigher("epsilon", "x_prev", "uniform", schedule)(torch.arange(1, 1000)[None].double())
    assert torch.isfinite(weight).all()
    assert 1.6e-5 < float(weight.min()) < 1.8e-5 and 4.2e-4 < float(weight.max()) < 4.4e-4
    # beta^2 / (alpha (1 - alphabar)) by hand at the last step: 0.012^2 / (0.988 * 0.9953)
    assert float(weight[0, -1]) == pytest.approx(0.012**2 / (0.988 * 0.9953), rel=1e-3)
    first = losses.weigher("epsilon", "x_prev", "uniform", schedule)(torch.zeros(1, 1))
    assert float(first) == pytest.approx(float(BETAS[0] / (1 - BETAS[0])), rel=1e-6)


def test_adamw_takes_the_same_steps_under_x_prev_as_under_a_uniform_weight() -> None:
    """Its own eps would be as large as the gradients: they are small by the weights' mean, here from a loop."""
    weigh = losses.weigher("epsilon", "x_prev", "uniform", schedule)
    means = [float(BETAS[t] ** 2 / ((1 - BETAS[t]) * (1 - ALPHAS_CUMPROD[t]))) for t in range(1000)]
    mean = sum(means) / 1000
    factor = losses.eps_factor(weigh, 1000)
    assert factor == pytest.approx(mean, rel=1e-4) and 1e-5 < factor < 1e-3
    assert losses.eps_factor(losses.weigher("epsilon", "backbone", "v", schedule), 1000) == 1

    def walked(scale: float, eps: float) -> Tensor:
        weight = torch.zeros(100, requires_grad=True)
        optimizer = torch.optim.AdamW([weight], lr=1e-3, eps=eps, weight_decay=0)
        for step in range(20):
            weight.grad = scale * 1e-5 * torch.randn(100, generator=torch.Generator().manual_seed(step))
            optimizer.step()
        return weight.detach()

    torch.testing.assert_close(walked(mean, 1e-8 * factor), walked(1, 1e-8), rtol=1e-3, atol=1e-6)
    assert float(walked(mean, 1e-8).abs().mean() / walked(1, 1e-8).abs().mean()) < 0.3


def test_weightings_mean_the_same_for_every_prediction_type() -> None:
    """An error in x_t's clean part, expressed in each type, is weighed to the same loss."""
    clean_error = random(1)
    for t in (20, 400, 700):  # below the clip of epsilon's weight
        bar = ALPHAS_CUMPROD[t]
        noise_error = -(bar / (1 - bar)).sqrt() * clean_error  # keeps x_t
        errors = {
            "epsilon": noise_error,
            "sample": clean_error,
            "v_prediction": bar.sqrt() * noise_error - (1 - bar).sqrt() * clean_error,
        }
        for weighting in ("v", "min-snr"):
            weighed = [
                float(losses.weigher(kind, "backbone", weighting, schedule)(torch.tensor([[t]])) * error.square())
                for kind, error in errors.items()
            ]
            assert weighed == pytest.approx([weighed[0]] * 3, rel=1e-9)


def test_v_weighting_is_clipped() -> None:
    weight = losses.weigher("epsilon", "backbone", "v", schedule)(torch.tensor([[0, 500, 999]]))[0]
    assert weight.tolist() == pytest.approx([1 / float(ALPHAS_CUMPROD[0]), 1 / float(ALPHAS_CUMPROD[500]), 50.0])


def test_flow_models_have_no_epsilon_weighting() -> None:
    assert losses.weigher("flow", "backbone", "uniform", schedule)(torch.zeros(1, 2)).tolist() == [[1, 1]]
    with pytest.raises(SpecError, match="flow"):
        losses.weigher("flow", "backbone", "v", schedule)


def test_min_snr_is_finite_where_no_signal_is_left() -> None:
    ends_dark = torch.tensor([0.0, 1e-6, 0.5, 5 / 6, 0.99], dtype=torch.float64)
    snr = ends_dark[1:] / (1 - ends_dark[1:])
    expected = [1.0, *(snr.clamp(max=5) / snr).tolist()]
    assert losses.min_snr_weight(ends_dark).tolist() == pytest.approx(expected, rel=1e-12)


def test_v_weighs_an_error_of_v_alike_at_every_t() -> None:
    """Not by way of epsilon, whose weight is clipped: 50 alphabar is 0.23 at the last timestep of Stable Diffusion."""
    table = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    weigh = losses.weigher("v_prediction", "backbone", "v", lambda t: table[t.long()])
    t = torch.tensor([[1.0, 500.0, 999.0]])
    assert float(50 * table[999]) < 0.24
    torch.testing.assert_close(weigh(t), torch.ones(1, 3))
