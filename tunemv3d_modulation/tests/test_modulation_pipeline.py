import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from toy_model import SPEC, load, moved_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.sampling import initial_noise
from tunemv3d_modulation.pictures import grid, near_bright
from tunemv3d_modulation.pipeline import TuneMV3DPipeline


@pytest.fixture(scope="module")
def pipe(folders):
    return TuneMV3DPipeline(moved_model(folders["mini"]), SPEC)


def their_latents(folder, scheduler, **options):
    """What diffusers' own pipeline makes of the same noise."""
    theirs = DiffusionPipeline.from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    theirs.scheduler = scheduler
    noise = initial_noise([5], 2, 4, (8, 8))[0]
    return theirs(["a red chair"] * 2, latents=noise, guidance_scale=3.0, output_type="latent", **options).images


def our_latents(folder, scheduler, steps, negative):
    pipe = TuneMV3DPipeline(MultiviewDiffusion(load(folder)), SPEC)
    options = {"num_inference_steps": steps, "guidance_scale": 3.0, "negative_prompt": negative, "seed": 5}
    output = pipe("a red chair", Cameras.orbit(2), scheduler=scheduler, **options)
    assert output.scene is None and output.images.shape == (1, 2, 32, 32, 3)
    return output.latents[0]


@pytest.mark.parametrize("scheduler", ["", "ddim", "dpm++", "euler", "unipc"])
@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl"])
def test_without_a_field_it_samples_what_diffusers_own_pipeline_samples(folders, kind, scheduler):
    options = {"num_inference_steps": 3, "negative_prompt": ["blue"] * 2}
    wanted = their_latents(folders[kind], load(folders[kind]).scheduler(scheduler), **options)
    torch.testing.assert_close(our_latents(folders[kind], scheduler, 3, "blue"), wanted, rtol=1e-4, atol=1e-4)


# The last step of those that draw noise draws none.
@pytest.mark.parametrize(
    ("scheduler", "steps"),
    [("HeunDiscreteScheduler", 3), ("PNDMScheduler", 3), ("EulerAncestralDiscreteScheduler", 1), ("LCMScheduler", 1)],
)
def test_other_schedulers_of_diffusers_go_by_their_class(folders, scheduler, steps):
    options = {"num_inference_steps": steps, "negative_prompt": ["blue"] * 2}
    wanted = their_latents(folders["sd15"], load(folders["sd15"]).scheduler(scheduler), **options)
    torch.testing.assert_close(our_latents(folders["sd15"], scheduler, steps, "blue"), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_fractional_timesteps_and_scaled_inputs_are_those_of_diffusers(folders, tmp_path, kind):
    folder = shutil.copytree(folders[kind], tmp_path / "karras")
    own = load(folder).scheduler_config
    solver = EulerDiscreteScheduler.from_config({**own, "timestep_spacing": "linspace", "use_karras_sigmas": True})
    solver.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    solver.set_timesteps(4)
    assert solver.timesteps.frac().any() and solver.init_noise_sigma > 10
    # Without a negative prompt XL moves away from zeros, the others from the empty prompt.
    wanted = their_latents(folder, solver, num_inference_steps=4)
    torch.testing.assert_close(our_latents(folder, "", 4, ""), wanted, rtol=1e-4, atol=1e-4)


def test_outputs_have_the_promised_shapes_and_ranges(pipe):
    output = pipe(["a red chair", "a stool"], Cameras.orbit(3))
    assert output.images.shape == output.renders.shape == (2, 3, 32, 32, 3)
    assert float(output.images.min()) >= 0 and float(output.images.max()) <= 1
    assert output.latents.shape == (2, 3, 4, 8, 8)
    assert output.opacity.shape == output.depth.shape == (2, 3, 8, 8)
    assert output.normals.shape == (2, 3, 3, 8, 8)
    assert output.cameras.shape == (2, 3)
    assert [picture.size for picture in output.pil()[1]] == [(32, 32)] * 3
    assert not output.latents.requires_grad


def test_eight_views_twenty_degrees_up_are_the_default(pipe):
    output = pipe("a red chair", num_inference_steps=1)
    wanted = Cameras.orbit(8, elevation=20.0)
    assert torch.equal(output.cameras.camera_to_world[0], wanted.camera_to_world)


def test_an_objects_sample_depends_on_its_own_seed_and_prompt_alone(pipe):
    both = pipe(["a red chair", "a stool"], Cameras.orbit(2), seed=[1, 2]).latents
    alone = pipe("a stool", Cameras.orbit(2), seed=2).latents
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-4)
    other = pipe("a stool", Cameras.orbit(2), seed=3).latents
    assert (other - alone).abs().mean() > 0.1


def test_strength_zero_is_the_plain_model_and_views_agree_more_with_strength(pipe):
    plain = TuneMV3DPipeline(MultiviewDiffusion(pipe.model.backbone), SPEC)
    cameras = Cameras.orbit(3)
    frozen = plain("a red chair", cameras).latents
    assert torch.equal(pipe("a red chair", cameras, consistency=0).latents, frozen)
    apart = [(pipe("a red chair", cameras, consistency=k).latents - frozen).abs().mean() for k in (0.5, 1, 1.5)]
    assert 0 < apart[0] < apart[1] < apart[2]


def test_without_guidance_one_branch_runs(pipe, monkeypatch):
    seen: list[int] = []
    predict = MultiviewDiffusion.predict
    monkeypatch.setattr(
        MultiviewDiffusion, "predict", lambda self, x, *rest: seen.append(len(x)) or predict(self, x, *rest)
    )
    pipe("a red chair", Cameras.orbit(2), guidance_scale=1.0, num_inference_steps=2)
    pipe("a red chair", Cameras.orbit(2), guidance_scale=3.0, num_inference_steps=2)
    assert seen == [1, 1, 2, 2]


def test_every_step_is_reported(pipe):
    steps = []
    output = pipe("a red chair", Cameras.orbit(2), num_inference_steps=4, callback_on_step_end=steps.append)
    assert [step.index for step in steps] == [0, 1, 2, 3]
    assert [step.t for step in steps] == sorted((step.t for step in steps), reverse=True)
    assert torch.equal(steps[-1].latents, output.latents)


def test_some_of_an_objects_views_can_be_fused(pipe):
    output = pipe("a red chair", Cameras.orbit(3))
    whole = pipe.fuse_clean(output.latents, ["a red chair"], output.cameras)
    without_last = pipe.fuse_clean(output.latents[:, :2], ["a red chair"], output.cameras[:, :2])
    assert not torch.allclose(whole.mean, without_last.mean)
    held_out = without_last.render(output.cameras[:, 2:], (8, 8))
    assert held_out.values.shape == (1, 1, 4, 8, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": " "}, "a prompt is empty"),
        ({"prompts": []}, "a prompt is empty"),
        ({"num_inference_steps": 0}, "steps must be at least 1, not 0"),
        ({"consistency": -1.0}, "K must be at least 0, not -1"),
        ({"consistency": float("nan")}, "K must be at least 0, not nan"),
        ({"guidance_scale": -2.0}, "guidance must be at least 0, not -2.0"),
        ({"seed": [1, 2]}, "2 seeds for 1 prompts"),
    ],
)
def test_options_out_of_range_are_refused(pipe, options, message):
    with pytest.raises(TuneMV3DError, match=message):
        pipe(**{"prompts": "a red chair", **options})


def test_the_grid_has_a_row_for_each_kind_of_picture(pipe):
    output = pipe("a red chair", Cameras.orbit(3), num_inference_steps=1)
    picture = grid(output, 0)
    assert picture.size == (3 * 32, 4 * 32)
    opacity = picture.crop((0, 64, 32, 96))
    assert opacity.getpixel((2, 2)) == (255, 255, 255) and opacity.getpixel((30, 2)) == (0, 0, 0)
    plain = TuneMV3DPipeline(MultiviewDiffusion(pipe.model.backbone), SPEC)
    assert grid(plain("a red chair", Cameras.orbit(3), num_inference_steps=1), 0).size == (96, 32)


def test_near_surfaces_are_bright_and_nothing_is_black():
    depth, opacity = torch.tensor([[[2.0, 3.0, 0.0]]]), torch.tensor([[[1.0, 0.9, 0.1]]])
    torch.testing.assert_close(near_bright(depth, opacity), torch.tensor([[[1.0, 0.2, 0.0]]]))
    assert not near_bright(depth, torch.zeros_like(opacity)).any()
