import pytest
import torch
from diffusers import StableDiffusionPipeline
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


@pytest.mark.parametrize(
    ("kind", "scheduler"),
    [("sd15", ""), ("sd15", "dpm++"), ("sd15", "euler"), ("sd15", "unipc"), ("sd21", ""), ("sd21", "dpm++")],
)
def test_without_a_field_it_samples_what_diffusers_own_pipeline_samples(folders, kind, scheduler):
    theirs = StableDiffusionPipeline.from_pretrained(folders[kind])
    theirs.set_progress_bar_config(disable=True)
    theirs.scheduler = load(folders[kind]).scheduler(scheduler)
    noise = initial_noise([5], 2, 4, (8, 8))[0]
    options = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent"}
    wanted = theirs(["a red chair"] * 2, negative_prompt=["blue"] * 2, latents=noise, **options).images
    ours = TuneMV3DPipeline(MultiviewDiffusion(load(folders[kind])), SPEC)(
        "a red chair",
        Cameras.orbit(2),
        num_inference_steps=3,
        guidance_scale=3.0,
        negative_prompt="blue",
        seed=5,
        scheduler=scheduler,
    )
    torch.testing.assert_close(ours.latents[0], wanted, rtol=1e-4, atol=1e-4)
    assert ours.scene is None and ours.images.shape == (1, 2, 32, 32, 3)


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
