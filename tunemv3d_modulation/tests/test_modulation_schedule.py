import diffusers
import pytest
import torch
from diffusers import DDPMScheduler
from toy_model import load

from tunemv3d_core.errors import ComponentError
from tunemv3d_modulation.schedule import SCHEDULERS, Schedule, make_scheduler

CONFIG = {"_class_name": "DDPMScheduler", "num_train_timesteps": 1000, "beta_schedule": "scaled_linear"}


def test_noise_and_target_are_those_of_the_diffusers_scheduler(backbone):
    own = DDPMScheduler.from_config(backbone.scheduler_config)
    latents, noise = torch.randn(2, 500, 4, 2, 2), torch.randn(2, 500, 4, 2, 2)
    t = torch.arange(1000).reshape(2, 500)
    flat = latents.flatten(0, 1), noise.flatten(0, 1), t.flatten()
    torch.testing.assert_close(backbone.add_noise(latents, noise, t).flatten(0, 1), own.add_noise(*flat))
    wanted = own.get_velocity(*flat) if backbone.ports.prediction == "v_prediction" else flat[1]
    torch.testing.assert_close(backbone.target(latents, noise, t).flatten(0, 1), wanted)
    assert torch.equal(backbone.alphas_cumprod(t.float()).flatten(), own.alphas_cumprod)


def test_a_model_that_predicts_the_sample_is_trained_on_it():
    latents = torch.randn(1, 2, 4, 2, 2)
    schedule = Schedule({**CONFIG, "prediction_type": "sample"})
    assert torch.equal(schedule.target(latents, torch.randn_like(latents), torch.zeros(1, 2)), latents)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_true_target_stands_for_the_clean_latents(prediction):
    schedule = Schedule({**CONFIG, "prediction_type": prediction})
    latents, noise = torch.randn(1, 3, 4, 2, 2), torch.randn(1, 3, 4, 2, 2)
    t = torch.tensor([[0.0, 400.0, 950.5]])
    target, x_t = schedule.target(latents, noise, t), schedule.add_noise(latents, noise, t)
    torch.testing.assert_close(schedule.predict_x0(target, x_t, t), latents, rtol=1e-4, atol=1e-4)


def test_the_clean_latents_are_exact_where_nothing_is_left_of_them():
    """At abar = 0, v is minus the clean latents."""
    schedule = Schedule({**CONFIG, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True})
    latents, noise, last = torch.randn(1, 1, 4, 2, 2), torch.randn(1, 1, 4, 2, 2), torch.tensor([[999.0]])
    assert torch.equal(schedule.predict_x0(-latents, noise, last), latents)


@pytest.mark.parametrize("zero_snr", [False, True])
def test_between_whole_steps_the_schedule_is_finite_and_falls_steadily(zero_snr):
    config = {**CONFIG, "prediction_type": "v_prediction", "rescale_betas_zero_snr": zero_snr}
    schedule = Schedule(config)
    fine = schedule.alphas_cumprod(torch.linspace(0, 999, 9991))
    assert bool((fine.diff() < 0).all()) and torch.equal(fine[::10], schedule.table)
    halfway = schedule.alphas_cumprod(torch.tensor([[500.5]]))
    torch.testing.assert_close(halfway, schedule.table[500:502].mean().reshape(1, 1))


def test_a_model_cast_to_half_keeps_its_schedule(folders):
    backbone = load(folders["mini"])
    exact = backbone.schedule.table.clone()
    backbone.to(torch.bfloat16)
    assert backbone.unet.dtype == torch.bfloat16 and torch.equal(backbone.schedule.table, exact)


def test_schedulers_by_name_keep_the_models_schedule_and_start_at_its_last_step(backbone):
    for name in SCHEDULERS:
        scheduler = backbone.scheduler(name)
        scheduler.set_timesteps(7)
        assert float(scheduler.timesteps[0]) == 999
        assert scheduler.config.prediction_type == backbone.ports.prediction
        torch.testing.assert_close(scheduler.alphas_cumprod, backbone.schedule.table)
    assert type(backbone.scheduler()).__name__ == backbone.scheduler_config["_class_name"]
    with pytest.raises(ComponentError, match=r"no scheduler 'dmp'\. Known: ddim, dpm"):
        backbone.scheduler("dmp")


@pytest.mark.parametrize("steps", [10**8, 0, -1, 1.5, "1000", None, [1000]])
def test_schedules_without_an_end_are_refused_at_once(steps: object) -> None:
    config = {"_class_name": "DDIMScheduler", "num_train_timesteps": steps, "beta_schedule": "scaled_linear"}
    for make in (Schedule, lambda config: make_scheduler(config, "")):
        with pytest.raises(ComponentError, match="num_train_timesteps is"):
            make(config)


@pytest.mark.parametrize(
    "name", ["StableDiffusionPipeline", "logging", "AutoencoderKL", "__class__", "x" * 5_000, "\x1b[2J"]
)
def test_only_schedulers_are_schedulers(name: str) -> None:
    with pytest.raises(ComponentError, match="no scheduler") as refused:
        make_scheduler({"_class_name": name, "num_train_timesteps": 1000}, "")
    assert len(str(refused.value)) < 5_000 and "\x1b" not in str(refused.value)


def test_a_foreign_class_of_a_config_is_never_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever of diffusers a config names would be imported with all that it needs."""
    asked = []
    monkeypatch.setattr(type(diffusers), "__getattr__", lambda module, name: asked.append(name) or object)
    config = {"num_train_timesteps": 10, "beta_schedule": "scaled_linear"}
    wanted = DDPMScheduler.from_config(config).alphas_cumprod
    assert torch.equal(Schedule({**config, "_class_name": "StableDiffusionPipeline"}).table, wanted)
    assert asked == []
