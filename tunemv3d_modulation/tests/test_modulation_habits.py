"""What every diffusers pipeline takes, compared with diffusers' own pipelines around the same plain 2D model."""

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, EulerDiscreteScheduler
from diffusers.callbacks import MultiPipelineCallbacks, SDCFGCutoffCallback, SDXLCFGCutoffCallback
from toy_model import SPEC, load, moved_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.sampling import initial_noise
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

VIEWS = 2


@pytest.fixture(scope="module")
def pipe(folders):
    """With a field."""
    return TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)


@pytest.fixture(scope="module")
def pairs(folders):
    """Our pipeline around a plain model, and diffusers' own, by kind."""
    made = {}
    for kind in ("sd15", "sdxl"):
        theirs = DiffusionPipeline.from_pretrained(folders[kind])
        theirs.set_progress_bar_config(disable=True)
        made[kind] = TuneMV3DPipeline.from_model(MultiviewDiffusion(load(folders[kind])), SPEC), theirs
    return made


def both(pair, scheduler=DDIMScheduler, **options):
    """The latents of one object's views, of ours and of theirs, from the same noise."""
    ours, theirs = pair
    for pipe in pair:
        pipe.scheduler = scheduler.from_config(load_config(ours))
    size = options.get("height", 32) // 4, options.get("width", 32) // 4
    noise = initial_noise([5], VIEWS, 4, size)
    given = {"num_inference_steps": 3, "guidance_scale": 3.0, "output_type": "latent", **options}
    if "timesteps" in given or "sigmas" in given:
        del given["num_inference_steps"]
    found = ours(
        given.get("prompt", "a red chair"),
        Cameras.orbit(VIEWS),
        latents=noise,
        **{k: v for k, v in given.items() if k != "prompt"},
    )
    # Without a negative prompt XL moves away from zeros, the others from the empty prompt.
    wanted = theirs(["a red chair"] * VIEWS, latents=noise[0], **given)
    return found.images[0], wanted.images


def load_config(pipe):
    return {**pipe.model.backbone.scheduler_config, "timestep_spacing": "leading", "steps_offset": 1}


def same(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        (DDIMScheduler, {"guidance_rescale": 0.7}),
        (DDIMScheduler, {"height": 48, "width": 24}),
        (DDIMScheduler, {"guidance_scale": 0.0}),
        (EulerDiscreteScheduler, {"timesteps": [999, 600, 300, 20]}),
        (EulerDiscreteScheduler, {"sigmas": [14.0, 3.0, 0.5]}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_does_what_it_does_in_diffusers(pairs, kind, scheduler, options):
    plain, _ = both(pairs[kind], scheduler)
    found, wanted = both(pairs[kind], scheduler, **options)
    same(found, wanted)
    assert found.shape != plain.shape or not torch.allclose(found, plain, atol=1e-3), "it should do something"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_a_skipped_layer_is_as_if_the_text_encoder_had_it_not(folders, kind):
    pipe, short = (TuneMV3DPipeline.from_model(MultiviewDiffusion(load(folders[kind])), SPEC) for _ in range(2))
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 1}
    for encoder in short.model.backbone.prompts.encoders:
        layers = getattr(encoder, "text_model", encoder).encoder.layers
        # XL's tokens come from before the last layer, its pooled text from the end: that one stays.
        del layers[-1 if kind == "sd15" else -2]
    text, wanted = (p.model.backbone.encode_text_skipping(["a chair"], n) for p, n in ((pipe, 1), (short, 0)))
    if kind == "sd15":
        same(text.tokens, wanted.tokens)
    else:
        plain = pipe.model.backbone.encode_text(["a chair"])
        same(text.tokens, wanted.tokens)
        assert torch.equal(text.pooled, plain.pooled)
    found, plain = pipe("a chair", clip_skip=1, **given).latents, pipe("a chair", **given).latents
    assert pipe.clip_skip is None and not torch.allclose(found, plain, atol=1e-4)


def test_eta_draws_from_the_objects_own_generator(pairs):
    ours, theirs = pairs["sd15"]
    for pipe in (ours, theirs):
        pipe.scheduler = DDIMScheduler.from_config(load_config(ours))
    noise, given = initial_noise([5], 1, 4, (8, 8)), {"num_inference_steps": 3, "eta": 1.0, "output_type": "latent"}
    found = ours("a chair", Cameras.orbit(1), latents=noise, generator=7, guidance_scale=1.0, **given).images[0]
    generator = torch.Generator().manual_seed(7)
    same(found, theirs("a chair", latents=noise[0], generator=generator, guidance_scale=1.0, **given).images)
    ours.scheduler = ours.model.backbone.scheduler("dpm++")
    with pytest.raises(TuneMV3DError, match="'DPMSolverMultistepScheduler' has no eta, which is DDIM's"):
        ours("a chair", Cameras.orbit(1), **given)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_an_official_callback_ends_guidance_as_in_diffusers(pairs, kind):
    cut = {"sd15": SDCFGCutoffCallback, "sdxl": SDXLCFGCutoffCallback}[kind](cutoff_step_ratio=0.4)
    ours, theirs = pairs[kind]
    for pipe in (ours, theirs):
        pipe.scheduler = DDIMScheduler.from_config(load_config(ours))
    noise = initial_noise([5], 1, 4, (8, 8))
    given = {"num_inference_steps": 5, "guidance_scale": 4.0, "output_type": "latent"}
    plain = ours("a red chair", Cameras.orbit(1), latents=noise, **given).images[0]
    for callback in (cut, MultiPipelineCallbacks([cut])):
        found = ours("a red chair", Cameras.orbit(1), latents=noise, callback_on_step_end=callback, **given).images[0]
        extra = {"callback_on_step_end": callback, "callback_on_step_end_tensor_inputs": cut.tensor_inputs}
        same(found, theirs("a red chair", latents=noise[0], **given, **extra).images)
        assert ours.guidance_scale == 0.0 and not ours.do_classifier_free_guidance
        assert not torch.allclose(found, plain, atol=1e-3)


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_embedded_prompts_are_what_they_were_made_of(pairs, kind):
    ours, _ = pairs[kind]
    text, negative = ours.model.backbone.encode_text(["a chair", "red"]), ours.model.backbone.encode_text(["blue"] * 2)
    given = {"cameras": Cameras.orbit(VIEWS), "guidance_scale": 3.0, "num_inference_steps": 2}
    wanted = ours(["a chair", "red"], negative_prompt="blue", **given).latents
    embeds = {"prompt_embeds": text.tokens, "negative_prompt_embeds": negative.tokens}
    if kind == "sdxl":
        with pytest.raises(
            TuneMV3DError, match=r"pooled_prompt_embeds: the model takes pooled text of shape \(2, 48\)"
        ):
            ours(**embeds, **given)
        embeds |= {"pooled_prompt_embeds": text.pooled, "negative_pooled_prompt_embeds": negative.pooled}
    assert torch.equal(ours(**embeds, **given).latents, wanted)


def test_samples_of_one_prompt_take_the_seeds_that_follow(pipe):
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 2}
    found = pipe(["a chair", "red"], num_images_per_prompt=2, generator=[3, 9], **given).latents
    for i, (prompt, seed) in enumerate([("a chair", 3), ("a chair", 4), ("red", 9), ("red", 10)]):
        same(found[i : i + 1], pipe(prompt, generator=seed, **given).latents)
    one = pipe("a chair", num_images_per_prompt=2, generator=torch.Generator().manual_seed(3), **given).latents
    assert not torch.allclose(one[0], one[1], atol=1e-2), "a generator goes on"


def test_latents_come_out_and_go_in(pipe):
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 2}
    noise = initial_noise([3], VIEWS, 4, (8, 8))
    output = pipe("a chair", latents=noise, output_type="latent", **given)
    assert torch.equal(output.images, pipe("a chair", generator=3, **given).latents)
    assert output.images is output.latents and output.renders.shape == (1, VIEWS, 4, 8, 8)
    with pytest.raises(TuneMV3DError, match=r"latents should be unit noise 'b n c h w' of shape \(1, 2, 4, 8, 8\)"):
        pipe("a chair", latents=noise[:, :1], **given)


def test_without_return_dict_a_tuple_comes(pipe):
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 1, "output_type": "pt"}
    found, wanted = pipe("a chair", return_dict=False, **given), pipe("a chair", **given)
    assert isinstance(found, tuple) and torch.equal(found[0], wanted.images) and torch.equal(found[1], wanted.latents)


@pytest.mark.parametrize("callback", [True, False])
def test_an_interrupt_ends_the_steps_and_keeps_what_is_there(pipe, callback):
    seen = []

    def stop(who, index, t, tensors):
        seen.append(tensors["latents"])
        who._interrupt = callback and index == 1

    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 4, "output_type": "pt"}
    output = pipe("a chair", callback_on_step_end=stop, **given)
    assert len(seen) == (2 if callback else 4) and pipe.num_timesteps == 4 and pipe.interrupt == callback
    assert torch.equal(output.latents, seen[-1]) and output.images.isfinite().all()
    pipe._interrupt = True  # of before: a call begins anew
    seen.clear()
    pipe("a chair", callback_on_step_end=lambda _, index, *rest: seen.append(index), **given)
    assert seen == [0, 1, 2, 3]


def test_a_callback_may_change_guidance_and_prompt_between_steps(pipe):
    other = pipe.model.backbone.encode_text(["", "red"]).tokens
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 3, "guidance_scale": 2.0}
    plain = pipe("a chair", **given).latents

    def more(who, index, t, tensors):
        assert set(tensors) == set(who._callback_tensor_inputs) and tensors["add_text_embeds"] is None
        assert tensors["prompt_embeds"].shape[0] == 2
        who._guidance_scale += 1.0
        return tensors

    wanted = {"callback_on_step_end_tensor_inputs": pipe._callback_tensor_inputs}
    raised = pipe("a chair", callback_on_step_end=more, **wanted, **given).latents
    assert pipe.guidance_scale == 5.0 and not torch.allclose(raised, plain, atol=1e-3)
    changed = pipe("a chair", callback_on_step_end=lambda *_: {"prompt_embeds": other}, **given).latents
    assert not torch.allclose(changed, plain, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pipe, tensors: {"x0": torch.zeros(1)}, "a callback can change latents, .*, not 'x0'"),
        (lambda pipe, tensors: {"prompt_embeds": tensors["prompt_embeds"][-1:]}, "left 1 rows of prompt_embeds for 1"),
        (lambda pipe, tensors: {"prompt_embeds": tensors["prompt_embeds"][:0]}, "left 0 rows of prompt_embeds for 1"),
    ],
)
def test_changes_that_cannot_be_made_are_refused(pipe, change, message):
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 2, "guidance_scale": 2.0}
    given["callback_on_step_end_tensor_inputs"] = ["prompt_embeds"]
    with pytest.raises(TuneMV3DError, match=message):
        pipe("a chair", callback_on_step_end=lambda who, _, __, tensors: change(who, tensors), **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": None}, "prompt and prompt_embeds: give one of them, and not both"),
        ({"prompt_embeds": torch.zeros(1, 16, 32)}, "prompt and prompt_embeds: give one of them, and not both"),
        (
            {"prompt": None, "prompt_embeds": torch.zeros(1, 16, 31)},
            "prompt_embeds should be 1 x tokens x 32, not 1 x 16 x 31",
        ),
        ({"ip_adapter_image": object()}, "takes no ip_adapter_image: give pictures of the object as known_views"),
        ({"cross_attention_kwargs": {"scale": 0.5}}, "takes no cross_attention_kwargs: set the weight of a LoRA"),
        ({"clip_skip": 2}, "clip_skip should be from 0 to 1, below the text encoder's layers, not 2"),
        ({"height": 30}, r"\[30, 32\] should be multiples of 4 pixels"),
        ({"timesteps": [900, 10], "num_inference_steps": 2}, "num_inference_steps and timesteps each say the steps"),
        ({"sigmas": [9.0, 0.1]}, "scheduler 'DPMSolverMultistepScheduler' takes no sigmas; leave them out"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt should be at least 1, not 0"),
        ({"guidance_rescale": 1.5}, "guidance_rescale should be from 0 to 1, not 1.5"),
        ({"eta": -1.0}, "eta should be from 0 to 1, not -1.0"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(pipe, options, message):
    with pytest.raises(TuneMV3DError, match=message) as told:
        pipe(**{"prompt": "a chair", **options})
    assert "\n" not in str(told.value)


def test_the_parts_have_diffusers_names(pairs, pipe):
    for kind, (ours, theirs) in pairs.items():
        for name in (
            "vae",
            "unet",
            "text_encoder",
            "tokenizer",
            *(["text_encoder_2", "tokenizer_2"] * (kind == "sdxl")),
        ):
            assert type(getattr(ours, name)) is type(getattr(theirs, name))
    assert pipe.text_encoder_2 is None and pipe.tokenizer_2 is None


def test_another_autoencoder_may_be_put_in(folders):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 1, "output_type": "pt"}
    before, white = pipe("a chair", **given).images, pipe.model.background_latent((8, 8))
    other = load(folders["mini"]).vae
    with torch.no_grad():
        other.decoder.conv_out.bias += 0.3
        other.quant_conv.bias += 0.3
    pipe.vae = other
    assert pipe.vae is other and not torch.equal(pipe("a chair", **given).images, before)
    assert not torch.equal(pipe.model.background_latent((8, 8)), white)


def test_slices_of_attention_and_tiles_of_the_autoencoder_change_little(folders, monkeypatch):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 2, "output_type": "pt"}
    plain = pipe("a chair", **given)
    pipe.enable_attention_slicing("max")
    named = {name: type(m.processor).__name__ for name, m in pipe.model.named_modules() if hasattr(m, "processor")}
    sliced = {name for name, kind in named.items() if "Sliced" in kind}
    assert any(name.startswith("backbone.unet") for name in sliced) and any(
        name.startswith("lifter") for name in sliced
    )
    same(pipe("a chair", **given).latents, plain.latents)
    pipe.disable_attention_slicing()
    assert torch.equal(pipe("a chair", **given).latents, plain.latents)
    with pytest.raises(TuneMV3DError, match="slice_size should be from 1 to"):
        pipe.enable_attention_slicing(100)
    pipe.vae.enable_slicing()
    same(pipe("a chair", **given).images, plain.images)
    pipe.vae.enable_tiling()
    assert pipe("a chair", **given).images.shape == plain.images.shape


def test_views_pass_the_autoencoder_by_their_size(folders, monkeypatch):
    backbone, seen = load(folders["mini"]), []
    monkeypatch.setattr(type(backbone.vae), "decode", lambda vae, z: seen.append(len(z)) or Decoded(z))
    for side in (64, 512, 1024, 1536):
        seen.clear()
        backbone.decode_latents(torch.zeros(1, 8, 4, side // 4, side // 4))
        assert seen == {64: [4, 4], 512: [4, 4], 1024: [1] * 8, 1536: [1] * 8}[side]
        assert backbone.vae.use_tiling == (side == 1536)


class Decoded:
    def __init__(self, latents):
        self.sample = torch.zeros(len(latents), 3, 2, 2)


def test_freeu_and_fused_projections_reach_the_frozen_model(folders):
    pipe = TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)
    given = {"cameras": Cameras.orbit(VIEWS), "num_inference_steps": 2}
    plain = pipe("a chair", **given).latents
    pipe.fuse_qkv_projections()
    same(pipe("a chair", **given).latents, plain)
    pipe.unfuse_qkv_projections()
    pipe.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    assert not torch.allclose(pipe("a chair", **given).latents, plain, atol=1e-3)
    pipe.disable_freeu()
    assert torch.equal(pipe("a chair", **given).latents, plain)
