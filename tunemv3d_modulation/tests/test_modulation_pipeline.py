import functools
import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from toy_model import SPEC, load, moved_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.sampling import initial_noise
from tunemv3d_core.viz.pictures import grid, near_bright
from tunemv3d_modulation.pipeline import TuneMV3DPipeline


@pytest.fixture(scope="module")
def pipe(folders):
    return TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)


@functools.cache
def theirs(folder):
    """diffusers' own pipeline; tests give it another scheduler and leave it otherwise as it is."""
    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@functools.cache
def ours(folder):
    """Ours of the same folder, without a field; tests give it another scheduler."""
    return TuneMV3DPipeline.from_model(MultiviewDiffusion(load(folder)), SPEC)


def their_latents(folder, scheduler, **options):
    """What diffusers' own pipeline makes of the same noise."""
    theirs(folder).scheduler = scheduler
    noise = initial_noise([5], 2, 4, (8, 8))[0]
    return theirs(folder)(
        ["a red chair"] * 2, latents=noise, guidance_scale=3.0, output_type="latent", **options
    ).images


def our_latents(folder, scheduler, steps, negative):
    pipe = ours(folder)
    pipe.scheduler = pipe.model.backbone.scheduler(scheduler)
    options = {"num_inference_steps": steps, "guidance_scale": 3.0, "negative_prompt": negative, "generator": 5}
    output = pipe("a red chair", Cameras.orbit(2), output_type="pt", **options)
    assert output.scene is None and output.images.shape == (1, 2, 3, 32, 32)
    return output.latents[0]


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["", "ddim", "dpm++", "euler", "unipc"])
@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl"])
def test_without_a_field_it_samples_what_diffusers_own_pipeline_samples(folders, kind, scheduler):
    options = {"num_inference_steps": 3, "negative_prompt": ["blue"] * 2}
    wanted = their_latents(folders[kind], ours(folders[kind]).model.backbone.scheduler(scheduler), **options)
    torch.testing.assert_close(our_latents(folders[kind], scheduler, 3, "blue"), wanted, rtol=1e-4, atol=1e-4)


# The last step of those that draw noise draws none.
@pytest.mark.parametrize(
    ("scheduler", "steps"),
    [("HeunDiscreteScheduler", 3), ("PNDMScheduler", 3), ("EulerAncestralDiscreteScheduler", 1), ("LCMScheduler", 1)],
)
def test_other_schedulers_of_diffusers_go_by_their_class(folders, scheduler, steps):
    options = {"num_inference_steps": steps, "negative_prompt": ["blue"] * 2}
    wanted = their_latents(folders["sd15"], ours(folders["sd15"]).model.backbone.scheduler(scheduler), **options)
    torch.testing.assert_close(our_latents(folders["sd15"], scheduler, steps, "blue"), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_fractional_timesteps_and_scaled_inputs_are_those_of_diffusers(folders, tmp_path, kind):
    folder = shutil.copytree(folders[kind], tmp_path / "karras")
    own = load(folder).scheduler_config
    scheduler = EulerDiscreteScheduler.from_config({**own, "timestep_spacing": "linspace", "use_karras_sigmas": True})
    scheduler.save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", "EulerDiscreteScheduler"]
    (folder / "model_index.json").write_text(json.dumps(index))
    scheduler.set_timesteps(4)
    assert scheduler.timesteps.frac().any() and scheduler.init_noise_sigma > 10
    # Without a negative prompt XL moves away from zeros, the others from the empty prompt.
    wanted = their_latents(folder, scheduler, num_inference_steps=4)
    torch.testing.assert_close(our_latents(folder, "", 4, ""), wanted, rtol=1e-4, atol=1e-4)


def test_outputs_have_the_promised_shapes_and_ranges(pipe):
    output = pipe(["a red chair", "a stool"], Cameras.orbit(3), output_type="pt")
    assert output.images.shape == output.renders.shape == (2, 3, 3, 32, 32)
    assert float(output.images.min()) >= 0 and float(output.images.max()) <= 1
    assert output.latents.shape == (2, 3, 4, 8, 8)
    assert output.opacity.shape == output.depth.shape == (2, 3, 32, 32)
    assert output.normals.shape == (2, 3, 3, 32, 32)
    assert output.cameras.shape == (2, 3)
    assert not output.latents.requires_grad


def test_images_come_in_the_types_of_diffusers(pipe):
    given = {"cameras": Cameras.orbit(3), "num_inference_steps": 1}
    tensors = pipe("a red chair", **given, output_type="pt").images
    arrays, pictures = (pipe("a red chair", **given, output_type=kind).images for kind in ("np", "pil"))
    np.testing.assert_allclose(arrays, tensors.movedim(2, -1).numpy())
    np.testing.assert_allclose(np.stack([np.asarray(p) for p in pictures[0]]), arrays[0] * 255, atol=0.5001)
    latent = pipe("a red chair", **given, output_type="latent")
    assert latent.images is latent.latents and latent.latents.shape == latent.renders.shape == (1, 3, 4, 8, 8)
    with pytest.raises(TuneMV3DError, match="output_type should be one of pil, np, pt, latent, not 'jpg'"):
        pipe("a red chair", output_type="jpg")


def test_eight_views_twenty_degrees_up_are_the_default(pipe):
    output = pipe("a red chair", num_inference_steps=1)
    wanted = Cameras.orbit(8, elevation=20.0)
    assert torch.equal(output.cameras.camera_to_world[0], wanted.camera_to_world)


def test_an_objects_sample_depends_on_its_own_seed_and_prompt_alone(pipe):
    both = pipe(["a red chair", "a stool"], Cameras.orbit(2), generator=[1, 2]).latents
    alone = pipe("a stool", Cameras.orbit(2), generator=2).latents
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-4)
    other = pipe("a stool", Cameras.orbit(2), generator=3).latents
    assert (other - alone).abs().mean() > 0.1


def test_k_of_zero_is_the_plain_model_and_a_larger_one_moves_further_from_it(pipe):
    plain = TuneMV3DPipeline.from_model(MultiviewDiffusion(pipe.model.backbone), SPEC)
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


def test_every_step_is_reported_as_diffusers_does(pipe):
    steps = []

    def callback(who, index, t, tensors):
        assert who is pipe and set(tensors) == {"latents", "x0"}
        steps.append((index, t, tensors["latents"]))

    wanted = {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": ["latents", "x0"]}
    output = pipe("a red chair", Cameras.orbit(2), num_inference_steps=4, **wanted)
    assert [index for index, _, _ in steps] == [0, 1, 2, 3]
    assert [t for _, t, _ in steps] == sorted((t for _, t, _ in steps), reverse=True)
    assert torch.equal(steps[-1][2], output.latents)
    with pytest.raises(TuneMV3DError, match=r"a callback can get latents, .*x_t, x0, opacity, depth, not 'noise'"):
        pipe("a red chair", callback_on_step_end=callback, callback_on_step_end_tensor_inputs=["noise"])


def test_a_callback_may_change_the_latents(pipe):
    def last_is_zero(_, index, __, tensors):
        return {"latents": torch.zeros_like(tensors["latents"])} if index == 1 else None

    output = pipe("a red chair", Cameras.orbit(2), num_inference_steps=2, callback_on_step_end=last_is_zero)
    assert not output.latents.any()


def test_a_generator_goes_on_where_it_is_and_a_seed_begins_anew(pipe):
    given = {"cameras": Cameras.orbit(2), "num_inference_steps": 1}
    generator = torch.Generator().manual_seed(7)
    first, second = (pipe("a stool", **given, generator=generator).latents for _ in range(2))
    assert torch.equal(first, pipe("a stool", **given, generator=7).latents) and not torch.equal(first, second)


def test_without_a_generator_noise_is_drawn_anew_from_torchs_own(pipe):
    given = {"cameras": Cameras.orbit(2), "num_inference_steps": 1, "generator": None}
    torch.manual_seed(3)
    first, second = (pipe(["a stool", "a stool"], **given).latents for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(pipe(["a stool", "a stool"], **given).latents, first)
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])


def test_a_swapped_scheduler_is_the_one_that_samples(pipe, folders):
    mine = TuneMV3DPipeline.from_model(MultiviewDiffusion(load(folders["sd15"])), SPEC)
    before = mine("a red chair", Cameras.orbit(2)).latents
    mine.scheduler = EulerDiscreteScheduler.from_config(mine.scheduler.config)
    wanted = their_latents(folders["sd15"], mine.scheduler, num_inference_steps=3, negative_prompt=["blue"] * 2)
    found = mine("a red chair", Cameras.orbit(2), guidance_scale=3.0, generator=5, negative_prompt="blue").latents[0]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.equal(before[0], found)


def test_it_is_a_diffusers_pipeline(pipe, capsys):
    assert isinstance(pipe, DiffusionPipeline) and set(pipe.components) == {"model", "scheduler", "spec"}
    assert pipe.device == torch.device("cpu") and pipe.dtype == torch.float32
    again = TuneMV3DPipeline(**pipe.components)
    given = {"cameras": Cameras.orbit(2), "num_inference_steps": 1}
    assert torch.equal(again("a stool", **given).latents, pipe("a stool", **given).latents)
    assert "1/1" in capsys.readouterr().err
    pipe.set_progress_bar_config(disable=True)
    pipe("a stool", **given)
    assert not capsys.readouterr().err


def test_half_precision_leaves_the_field_as_it_is(folders):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC).to(torch.bfloat16)
    assert pipe.model.backbone.unet.dtype == pipe.dtype == torch.bfloat16
    assert pipe.model.field.scale.dtype == torch.float32
    images = pipe("a red chair", Cameras.orbit(2), output_type="pt").images
    assert images.isfinite().all()


def test_a_vae_that_overflows_in_half_precision_stays_in_full(folders):
    pipe = TuneMV3DPipeline.from_model(MultiviewDiffusion(load(folders["sdxl"])), SPEC)
    vae = pipe.model.backbone.vae
    assert vae.config.force_upcast
    pipe.to("cpu", torch.float16)
    assert (pipe.dtype, vae.dtype) == (torch.float16, torch.float32)
    assert pipe.to(torch.bfloat16).model.backbone.vae.dtype == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_offloading_without_an_accelerator_is_told_at_once(folders):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    for enable in (pipe.enable_model_cpu_offload, pipe.enable_sequential_cpu_offload):
        with pytest.raises(TuneMV3DError, match="an accelerator, and there is none here"):
            enable()
        with pytest.raises(TuneMV3DError, match="device 'cuda' cannot be used here"):
            enable(device="cuda")


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
        ({"prompt": " "}, "a prompt is empty"),
        ({"prompt": []}, "a prompt is empty"),
        ({"num_inference_steps": 0}, "steps: should be greater than or equal to 1, got 0"),
        (
            {"consistency": -1.0},
            "consistency: K should be a number of at least 0, or a list of them over the steps, got -1.0",
        ),
        ({"consistency": float("nan")}, "consistency: K should be a number of at least 0, .* got NaN"),
        ({"guidance_scale": -2.0}, "guidance: should be greater than or equal to 0, got -2.0"),
        ({"generator": [1, 2]}, "2 generators for 1 prompts"),
    ],
)
def test_options_out_of_range_are_refused(pipe, options, message):
    with pytest.raises(TuneMV3DError, match=message):
        pipe(**{"prompt": "a red chair", **options})


def test_the_grid_has_a_row_for_each_kind_of_picture(pipe):
    output = pipe("a red chair", Cameras.orbit(3), num_inference_steps=1, output_type="pt")
    picture = grid(output.images[0], output.renders[0], output.opacity[0], output.depth[0])
    assert picture.size == (3 * 32, 4 * 32)
    opacity = picture.crop((0, 64, 32, 96))
    assert opacity.getpixel((2, 2)) == (255, 255, 255) and opacity.getpixel((30, 2)) == (0, 0, 0)
    assert grid(output.images[0], None, None, None).size == (96, 32)


def test_near_surfaces_are_bright_and_nothing_is_black():
    depth, opacity = torch.tensor([[[2.0, 3.0, 0.0]]]), torch.tensor([[[1.0, 0.9, 0.1]]])
    torch.testing.assert_close(near_bright(depth, opacity), torch.tensor([[[1.0, 0.2, 0.0]]]))
    assert not near_bright(depth, torch.zeros_like(opacity)).any()
