"""The noise level that a model is shown is the one of the t that it is told, with every scheduler that samples."""

from types import SimpleNamespace

import diffusers
import pytest
import torch
from tiny_pipelines import SCHEDULE

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.sampling import prepared_scheduler, sample
from tunemv3d_core.slots import Prediction
from tunemv3d_core.types import Text
from tunemv3d_modulation.schedule import Schedule, make_scheduler

CLASSES = sorted(name for name in dir(diffusers) if name.endswith("Scheduler"))
SAMPLING = {
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
}
"""Those that must sample Stable Diffusion; a newer diffusers may have more, which are measured too."""


class Exact:
    """A model that knows its data, and notes by how much its input is noisier than t says."""

    is_captured = False

    def __init__(self, config) -> None:
        self.prediction = config["prediction_type"]
        self.table = diffusers.DDPMScheduler.from_config(config).alphas_cumprod
        self.clean = 0.7 * torch.randn(1, 1, 4, 32, 32, generator=torch.Generator().manual_seed(9))
        ports = SimpleNamespace(latent_channels=4, latent_size=32, image_stride=1, prediction=self.prediction)
        self.backbone = SimpleNamespace(ports=ports)
        self.levels: list[float] = []

    def predict(self, x_t, t, text, cameras, consistency):
        below, above = self.table[t[0, 0].long()], self.table[(t[0, 0].long() + 1).clamp(max=999)]
        kept = torch.lerp(below, above, t[0, 0] - t[0, 0].floor())
        noise = (x_t - kept.sqrt() * self.clean) / (1 - kept).sqrt()
        self.levels.append(float(noise.std()))
        v = kept.sqrt() * noise - (1 - kept).sqrt() * self.clean
        return Prediction(noise if self.prediction == "epsilon" else v)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", CLASSES)
def test_the_noise_level_is_that_of_t(name, prediction):
    config = {"_class_name": "DDIMScheduler", **SCHEDULE, "prediction_type": prediction, "steps_offset": 1}
    try:
        scheduler = make_scheduler(config, name)
    except ComponentError:
        assert name not in SAMPLING
        return
    model = Exact(config)
    text, cameras = Text(torch.zeros(1, 1, 1)), Cameras.orbit(1)[None]
    end = sample(model, text, cameras, [7], SampleSpec(steps=20, guidance=1), scheduler=scheduler)
    assert model.levels == pytest.approx([1] * len(model.levels), rel=0.05)
    torch.testing.assert_close(end, model.clean, rtol=0, atol=0.2)


ZERO_SNR = {"_class_name": "DDIMScheduler", **SCHEDULE, "rescale_betas_zero_snr": True}


def test_a_model_that_predicts_noise_is_refused_where_the_schedule_ends_in_noise_alone():
    """abar is 0 there, and x0 = (x_t - sqrt(1 - abar) eps) / sqrt(abar)."""
    with pytest.raises(ComponentError, match=r"predicts 'epsilon', .*ends without signal.*rescale_betas_zero_snr"):
        Schedule({**ZERO_SNR, "prediction_type": "epsilon"})
    assert float(Schedule({**ZERO_SNR, "prediction_type": "v_prediction"}).table[-1]) == 0


def test_such_a_scheduler_is_refused_for_such_a_model_before_sampling():
    backbone = Exact({**SCHEDULE, "prediction_type": "epsilon"}).backbone
    ends_dark = diffusers.DDIMScheduler(**SCHEDULE, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    with pytest.raises(TuneMV3DError, match=r"'DDIMScheduler' begins at pure noise, .*predicts epsilon"):
        prepared_scheduler(backbone, ends_dark, 4)
    begins_later = diffusers.DDIMScheduler(**SCHEDULE, rescale_betas_zero_snr=True, timestep_spacing="leading")
    assert len(prepared_scheduler(backbone, begins_later, 4).timesteps) == 4
