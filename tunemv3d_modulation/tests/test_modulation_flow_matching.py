"""Schedulers of flow matching, which have neither a scale of the first noise nor one of the model's input."""

import copy

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from plain_backbone import OwnScheduler, PlainBackbone

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.sampling import initial_noise, sample


def naive_euler(sigmas, guidance, prompts, seeds, views):
    """Euler's method in float64: dx / dsigma is the predicted flow."""
    backbone = copy.deepcopy(PlainBackbone()).double()
    text, empty = (backbone.encode_text(words) for words in (prompts, [""] * len(prompts)))
    x = initial_noise(seeds, views, 4, (8, 8)).double()
    for sigma, after in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        t = torch.full(x.shape[:2], 1000 * sigma, dtype=torch.float64)
        flow, plain = (backbone.decode(backbone.encode(x, t, words), None, t, words) for words in (text, empty))
        x = x + (after - sigma) * (plain + guidance * (flow - plain))
    return x


@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_takes_the_steps_of_euler(steps, guidance):
    model = MultiviewDiffusion(PlainBackbone())
    text, empty = model.backbone.encode_text(["a chair", "a stool"]), model.backbone.encode_text(["", ""])
    cameras, seeds = Cameras.orbit(3)[None].expand(2, 3), [4, 5]
    assert not hasattr(FlowMatchEulerDiscreteScheduler(), "init_noise_sigma")
    made = sample(model, text, cameras, seeds, SampleSpec(steps=steps, guidance=guidance), negative=empty)
    sigmas = [1 + i * (0.001 - 1) / max(1, steps - 1) for i in range(steps)]
    wanted = naive_euler(sigmas, guidance, ["a chair", "a stool"], seeds, 3)
    torch.testing.assert_close(made.double(), wanted, rtol=1e-4, atol=1e-4)


def test_so_does_a_scheduler_that_has_nothing_but_its_steps():
    model = MultiviewDiffusion(PlainBackbone())
    options, text = SampleSpec(steps=4, guidance=1), model.backbone.encode_text(["a chair"])
    made = sample(model, text, Cameras.orbit(2)[None], [6], options, scheduler=OwnScheduler())
    wanted = naive_euler([1.0, 0.75, 0.5, 0.25], 1.0, ["a chair"], [6], 2)
    torch.testing.assert_close(made.double(), wanted, rtol=1e-4, atol=1e-4)


def test_one_that_wants_more_than_a_number_of_steps_is_refused_with_its_reason():
    model = MultiviewDiffusion(PlainBackbone())
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    given = model, model.backbone.encode_text(["a chair"]), Cameras.orbit(2)[None], [0]
    with pytest.raises(TuneMV3DError, match=r"scheduler 'FlowMatchEulerDiscreteScheduler' cannot take 4 steps: .*mu"):
        sample(*given, SampleSpec(steps=4, guidance=1), scheduler=scheduler)
