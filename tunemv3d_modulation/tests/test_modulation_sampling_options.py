"""Known views, schedules of K, negative prompts, starting noise and schedulers that draw noise."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from toy_model import SPEC, moved_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.sampling import Course, KnownViews, initial_noise, sample
from tunemv3d_core.viz.pictures import read_picture
from tunemv3d_modulation.pipeline import TuneMV3DPipeline


@pytest.fixture(scope="module")
def pipe(folders):
    return TuneMV3DPipeline.from_model(moved_model(folders["mini"]), SPEC)


def picture(seed: int = 0) -> torch.Tensor:
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scheduler", ["ddim", "dpm++", "euler", "unipc"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_a_known_view_comes_out_as_it_went_in_and_the_others_heed_it(pipe, monkeypatch, scheduler, guidance):
    shown = []
    predict = MultiviewDiffusion.predict

    def watch(self, x_t, t, *rest):
        shown.append((x_t[:, 1], t[:, 1], t[:, 0]))
        return predict(self, x_t, t, *rest)

    monkeypatch.setattr(MultiviewDiffusion, "predict", watch)
    monkeypatch.setattr(pipe, "scheduler", pipe.model.backbone.scheduler(scheduler))
    options = {"guidance_scale": guidance, "output_type": "pt"}
    output = pipe("a red chair", Cameras.orbit(3), known_views={1: picture()}, **options)
    latents = pipe.model.backbone.encode_images(picture()[None, None] * 2 - 1)[0, 0]
    assert torch.equal(output.latents[0, 1], latents)
    torch.testing.assert_close(output.images[0, 1], picture())
    for seen, level, _ in shown:
        assert torch.equal(seen, latents.expand_as(seen)), "shown to the model clean, whatever the scheduler scales"
        assert not level.any()
    assert all(bool(others.any()) for _, _, others in shown[:-1]), "only the known view is given at t = 0"
    other = pipe("a red chair", Cameras.orbit(3), known_views={1: picture(1)}, **options)
    assert (other.latents[0, 0] - output.latents[0, 0]).abs().mean() > 1e-4


def test_known_views_of_each_object_are_its_own(pipe):
    backbone, cameras = pipe.model.backbone, Cameras.orbit(2)[None].expand(2, 2)
    latents = initial_noise([8, 9], 2, 4, (8, 8))
    known = KnownViews(latents, torch.tensor([[True, False], [False, True]]))
    made = sample(
        pipe.model, backbone.encode_text(["a", "b"]), cameras, [1, 2], SampleSpec(steps=2, guidance=1), known=known
    )
    assert torch.equal(made[0, 0], latents[0, 0]) and torch.equal(made[1, 1], latents[1, 1])
    assert not torch.equal(made[0, 1], latents[0, 1])


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({3: picture()}, "known view 3 has no camera: there are 3"),
        ({-1: picture()}, "known view -1 has no camera"),
        ({0: picture(), 1: picture(), 2: picture()}, "all 3 views are known"),
        ({0: 255 * torch.ones(3, 8, 8)}, r"values should lie in \[0, 1\]; got up to 255"),
        ({0: "front.png"}, "a PIL picture or a tensor '3 H W', not str"),
        ({0: torch.rand(4, 8, 8)}, r"a picture, or a tensor '3 H W' like the views; got \(4, 8, 8\)"),
    ],
)
def test_known_views_that_do_not_fit_are_refused(pipe, known, message):
    with pytest.raises(TuneMV3DError, match=message):
        pipe("a red chair", Cameras.orbit(3), known_views=known)


def test_pictures_are_put_on_white_and_padded():
    transparent = Image.new("RGBA", (8, 4), (255, 0, 0, 0))
    transparent.paste((0, 0, 255, 255), (0, 0, 4, 4))
    pixels = read_picture(transparent, (16, 16))
    assert pixels.shape == (3, 16, 16)
    assert pixels[:, 8, 2].tolist() == [0, 0, 1] and pixels[:, 8, 14].tolist() == [1, 1, 1]
    assert pixels[:, 1, 2].tolist() == [1, 1, 1]


def test_a_schedule_of_k_acts_step_by_step(pipe, monkeypatch):
    monkeypatch.setattr(pipe, "scheduler", pipe.model.backbone.scheduler("ddim"))

    def latents(**options):
        return pipe("a red chair", Cameras.orbit(2), num_inference_steps=4, **options).latents

    assert torch.equal(latents(consistency=[1.5, 1.5]), latents(consistency=1.5))
    frozen, late = latents(consistency=0), latents(consistency=[0, 0, 0, 1])
    seen = []
    latents(
        consistency=[0, 0, 0, 1],
        callback_on_step_end=lambda _, __, ___, tensors: seen.append(tensors["x0"] is not None),
        callback_on_step_end_tensor_inputs=["x0"],
    )
    assert seen == [False, False, False, True], "where K is 0 no field runs"
    assert not torch.equal(late, frozen)
    assert (late - frozen).abs().mean() < (latents(consistency=1) - frozen).abs().mean()


def test_each_object_may_have_its_negative_prompt(pipe):
    both = pipe(["a red chair"] * 2, Cameras.orbit(2), negative_prompt=["blue", "a stool"], guidance_scale=4).latents
    for i, negative in enumerate(("blue", "a stool")):
        alone = pipe("a red chair", Cameras.orbit(2), negative_prompt=negative, guidance_scale=4).latents
        torch.testing.assert_close(both[i : i + 1], alone, rtol=1e-4, atol=1e-4)
    with pytest.raises(TuneMV3DError, match="2 negative prompts for 1 prompts"):
        pipe("a red chair", negative_prompt=["a", "b"])


def test_views_may_start_from_the_same_noise():
    apart, same = (initial_noise([3, 4], 5, 4, (8, 8), shared) for shared in (False, True))
    assert torch.equal(same[:, :1].expand_as(same), same)
    assert not torch.equal(apart[:, 0], apart[:, 1]) and not torch.equal(same[0], same[1])


def test_shared_noise_gives_the_plain_model_equal_views(pipe):
    plain = TuneMV3DPipeline.from_model(MultiviewDiffusion(pipe.model.backbone), SPEC)
    same = plain("a red chair", Cameras.orbit(3), shared_noise=True).latents
    torch.testing.assert_close(same[:, 1:], same[:, :1].expand_as(same[:, 1:]), rtol=1e-4, atol=1e-4)
    assert (plain("a red chair", Cameras.orbit(3)).latents[:, 0] - same[:, 0]).abs().mean() < 1.0


def test_as_many_views_as_in_training_are_the_default(pipe):
    few = SPEC.model_copy(update={"views": SPEC.views.model_copy(update={"inputs": 2})})
    assert TuneMV3DPipeline.from_model(pipe.model, few)("a red chair", num_inference_steps=1).cameras.shape == (1, 2)


def test_any_number_of_views_and_any_cameras(pipe):
    cameras = Cameras.look_at(
        torch.tensor([[0.0, -3.0, 0.5], [2.0, 2.0, 2.0], [0.1, 0.0, 3.0], [-2.0, 0, -1.5], [3, 0, 0]])
    )
    output = pipe("a red chair", cameras, num_inference_steps=2)
    assert output.latents.shape == (1, 5, 4, 8, 8) and output.latents.isfinite().all()


def test_pictures_stand_upright_and_keep_16_bits():
    sideways = Image.new("RGB", (4, 8), "red")
    sideways.paste((0, 0, 255), (0, 0, 4, 4))
    tag = sideways.getexif()
    tag[0x0112] = 6  # the top of the object is at the file's left
    turned = io.BytesIO()
    sideways.save(turned, "PNG", exif=tag)
    upright = read_picture(Image.open(turned), (16, 16))
    assert upright[:, 8, 2].tolist() == [1, 0, 0] and upright[:, 8, 14].tolist() == [0, 0, 1]
    grey = Image.fromarray(np.full((8, 8), 32768, dtype=np.uint16))
    assert float(read_picture(grey, (8, 8)).mean()) == pytest.approx(0.5, abs=0.01)


def test_the_spec_may_say_another_size(pipe):
    wide = SPEC.model_copy(update={"sample": SPEC.sample.model_copy(update={"size": (32, 48)})})
    output = TuneMV3DPipeline.from_model(pipe.model, wide)("a red chair", Cameras.orbit(2), num_inference_steps=1)
    assert output.latents.shape == (1, 2, 4, 8, 12) and output.images[0][0].size == (48, 32)
    assert output.depth.shape == (1, 2, 32, 48)
    uneven = SPEC.model_copy(update={"sample": SPEC.sample.model_copy(update={"size": (32, 50)})})
    with pytest.raises(TuneMV3DError, match=r"sample\.size: \[32, 50\] should be multiples of 4 pixels.* \[32, 48\]"):
        TuneMV3DPipeline.from_model(pipe.model, uneven)
    given = torch.rand(3, 32, 48)
    options = {"num_inference_steps": 1, "known_views": {0: given}, "output_type": "pt"}
    known = TuneMV3DPipeline.from_model(pipe.model, wide)("a", Cameras.orbit(2), **options)
    torch.testing.assert_close(known.images[0, 0], given)


def test_what_a_callback_sees_is_the_branch_with_text(pipe):
    backbone, seen = pipe.model.backbone, []
    text, cameras = backbone.encode_text(["a red chair", "a stool"]), Cameras.orbit(3)[None].expand(2, 3)
    negative = backbone.encode_text(["", ""])
    options = SampleSpec(steps=1, scheduler="ddim", guidance=3.0)
    sample(pipe.model, text, cameras, [0, 0], options, negative=negative, on_step=seen.append)
    x_t, t = initial_noise([0, 0], 3, 4, (8, 8)), torch.full((2, 3), seen[0].t)
    expected = pipe.model.predict(x_t, t, text, cameras)
    shown = seen[0].prediction
    assert torch.equal(seen[0].x_t, x_t)
    torch.testing.assert_close(shown.rendering.opacity, expected.rendering.opacity)
    torch.testing.assert_close(shown.x0, expected.x0, rtol=1e-4, atol=1e-4)
    assert shown.scene is None and shown.modulated.shape == (2, 3, 4, 8, 8)


def test_sampling_goes_on_from_any_step(pipe):
    backbone, steps = pipe.model.backbone, []
    options = SampleSpec(steps=4, scheduler="ddim", guidance=1)
    given = (pipe.model, backbone.encode_text(["a stool"]), Cameras.orbit(2)[None], [3], options)
    whole = sample(*given, on_step=steps.append)
    rest = sample(*given, course=Course(begin=(2, steps[1].latents)))
    torch.testing.assert_close(rest, whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance_scale": 1.0, "negative_prompt": "blue"}, "a negative prompt needs guidance"),
        ({"generator": 2**40}, "a seed should be from 0 to 4294967295"),
        ({"generator": [-1]}, "a seed should be from 0"),
        ({"cameras": Cameras.orbit(2)[None].expand(3, 2)}, "cameras of 3 objects for 1 prompts"),
        ({"consistency": []}, r"consistency: K should be a number of at least 0, or a list .*, got \[\]"),
    ],
)
def test_options_that_make_no_sense_together_are_refused(pipe, options, message):
    with pytest.raises(TuneMV3DError, match=message):
        pipe("a red chair", **options)


def test_more_steps_than_the_schedule_has_are_refused(pipe, monkeypatch):
    monkeypatch.setattr(pipe, "scheduler", pipe.model.backbone.scheduler("ddim"))
    with pytest.raises(TuneMV3DError, match="scheduler 'DDIMScheduler' cannot take 5000 steps"):
        pipe("a red chair", num_inference_steps=5000)


def test_numbers_of_numpy_are_numbers(pipe):
    cameras = Cameras.orbit(2)
    plain = pipe("a red chair", cameras, generator=3, consistency=1.5).latents
    assert torch.equal(pipe("a red chair", cameras, generator=np.int64(3), consistency=np.float32(1.5)).latents, plain)


def test_no_negative_prompt_is_an_empty_one(pipe):
    """None is what every pipeline of diffusers has as its default."""
    options = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "latent", "cameras": Cameras.orbit(2)}
    none, empty = (pipe("a chair", negative_prompt=words, **options).latents for words in (None, ""))
    assert torch.equal(none, empty)
