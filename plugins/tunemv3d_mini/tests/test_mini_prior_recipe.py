"""The recipe of the packaged prior, at its tiny size on drawn shapes."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.caption_words import read_caption_words
from tunemv3d_core.io.posed_images import PosedImages, write_manifest, write_object

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipe"))

from sd_mini import data, export, models, tokenizer, train, trainer, vae

SHADES = {"red": (200, 32, 36), "green": (48, 150, 62), "blue": (38, 78, 190), "pink": (238, 140, 182)}
SIDE = 32


def draw_dataset(folder: Path, shapes: tuple[str, ...], held_out: str | None = None) -> Path:
    splits = {}
    for word, rgb in SHADES.items():
        for shape in shapes:
            id_ = f"{word}-{shape}"
            place = folder / "objects" / id_
            place.mkdir(parents=True)
            for k in range(2):
                picture = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
                box = (8 + k, 8, SIDE - 8 + k, SIDE - 8)
                brush = ImageDraw.Draw(picture)
                (brush.rectangle if shape == "box" else brush.ellipse)(box, fill=(*rgb, 255))
                picture.save(place / f"{k:03d}.webp", lossless=True)
            cameras = Cameras.look_at(torch.tensor([[2.7, 0.0, 0.5], [0.0, 2.7, 0.5]]))
            captions = (f"a {word} {shape}", f"a {shape} painted {word}")
            files = ("000.webp", "001.webp")
            extra = {"base": f"{word}-box"} if shape == "variant" else {}
            write_object(
                place, PosedImages(id_, cameras, (SIDE, SIDE), captions, files, "CC0-1.0", "Ann", "drawn", extra)
            )
            splits[id_] = "held_out" if id_ == held_out else "train"
    write_manifest(folder, folder.name, splits)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("shapes")
    return [draw_dataset(root / "one", ("box",), held_out="red-box"), draw_dataset(root / "two", ("box", "ball"))]


@pytest.fixture(scope="module")
def result(folders: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("result")
    arguments = ["--data", *map(str, folders), "--out", str(out), "--size", "tiny", "--device", "cpu"]
    assert train.main(arguments) == 0
    return out


def test_an_object_held_out_in_one_folder_is_held_out_in_all(folders: list[Path]) -> None:
    views, held = data.load_views(folders)
    assert set(held.names) == {"red-box"} and len(held.names) == 4
    assert "red-box" not in views.names and len(views.names) == 3 * 2 + 7 * 2


def test_variants_of_held_out_objects_are_left_out(tmp_path: Path) -> None:
    views, held = data.load_views([draw_dataset(tmp_path / "set", ("box", "variant"), held_out="red-box")])
    assert "red-variant" not in {*views.names, *held.names}
    assert {"blue-variant", "blue-box"} <= set(views.names)


def test_words_are_counted_by_objects_a_variant_being_none(tmp_path: Path) -> None:
    """Captions are "a red box" and "a box painted red", those of the drawn variants say "variant"."""
    views, _ = data.load_views([draw_dataset(tmp_path / "set", ("box", "variant"), held_out="red-box")])
    # A variant's base is the box of its colour, so that three objects of two folders remain.
    assert views.words == {"box": 3, "variant": 3, "painted": 3, "green": 1, "blue": 1, "pink": 1}


def test_every_folder_gets_an_equal_part_of_the_draws(folders: list[Path]) -> None:
    views, _ = data.load_views(folders)
    torch.manual_seed(0)
    places = views.draw(20000)
    first = (places < 6).float().mean().item()
    assert first == pytest.approx(0.5, abs=0.02)
    assert set(places.tolist()) == set(range(20))


def test_captions_belong_to_their_pictures(folders: list[Path]) -> None:
    views, _ = data.load_views(folders)
    for place, name in enumerate(views.names):
        colour = name.split("-")[0]
        assert all(colour in views.captions[k] for k in views.caption_of[place].tolist())


def test_tokenizer_splits_unknown_words_and_keeps_known_ones() -> None:
    made = tokenizer.train_tokenizer(["a red chair", "a red armchair", "a blue chair"] * 3, 640, 16)
    known = made.convert_ids_to_tokens(made("A red chair").input_ids)
    assert known == ["<|startoftext|>", "a</w>", "red</w>", "chair</w>", "<|endoftext|>"]
    pieces = made.convert_ids_to_tokens(made("zqÜ").input_ids, skip_special_tokens=True)
    assert len(pieces) == 4 and pieces[:2] == ["z", "q"]
    assert len(made) <= 640 and made.pad_token_id == made.eos_token_id == len(made) - 1


def test_recolouring_turns_hues_and_leaves_grey_grey() -> None:
    torch.manual_seed(0)
    matrices = vae.random_recolouring(50, torch.device("cpu"))
    grey = matrices @ torch.full((3,), 0.5)
    torch.testing.assert_close(grey, grey[:, :1].expand(-1, 3))
    turned = (matrices @ torch.tensor([0.8, 0.2, 0.2])).argmax(-1)
    assert set(turned.tolist()) == {0, 1, 2}


def test_centre_makes_white_zero_and_keeps_reconstructions(folders: list[Path]) -> None:
    torch.manual_seed(0)
    views, _ = data.load_views(folders)
    model = models.make_vae(models.SIZES["tiny"]).requires_grad_(False)
    pictures = data.composite(views.images) * 2 - 1
    mean, log_variance = vae.moments(model, pictures)
    before = vae.decode(model, mean)
    latents = vae.centre(model, views.images)
    new_mean, new_log_variance = vae.moments(model, pictures)
    torch.testing.assert_close(new_mean, latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(latents.square().mean((0, 2, 3)), torch.ones(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(vae.decode(model, new_mean), before, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close((new_log_variance - log_variance).std((0, 2, 3)), torch.zeros(4), atol=1e-4, rtol=0)
    middle = vae.white_latent(model, SIDE)[:, 2:-2, 2:-2]
    torch.testing.assert_close(middle.mean((1, 2)), torch.zeros(4), atol=1e-4, rtol=0)


def test_ground_keeps_a_cells_distance_from_the_object() -> None:
    alpha = torch.zeros(1, 1, SIDE, SIDE)
    alpha[..., 13, 18] = 0.5  # in cell (3, 4)
    expected = torch.ones(SIDE // 4, SIDE // 4, dtype=torch.bool)
    expected[2:5, 3:6] = False
    assert torch.equal(vae.ground_cells(alpha)[0, 0], expected)


def test_ground_loss_compares_ground_with_the_rest_and_moves_only_the_ground() -> None:
    alpha = torch.zeros(1, 1, SIDE, SIDE)
    alpha[..., :8, :8] = 1
    latents = torch.full((1, 4, SIDE // 4, SIDE // 4), 0.5)
    latents[..., :3, :3] = 2.0  # the object and the cells next to it
    latents.requires_grad_()
    loss = vae.ground_loss(latents, alpha)
    assert loss.item() == pytest.approx(0.5**2 / 2.0**2)
    loss.backward()
    assert latents.grad is not None
    assert (latents.grad[..., :3, :3] == 0).all() and (latents.grad[..., 3:, :] > 0).all()
    assert vae.ground_loss(torch.randn(2, 4, 8, 8), torch.ones(2, 1, SIDE, SIDE)).item() == 0


def test_mirroring_keeps_picture_and_alpha_together() -> None:
    torch.manual_seed(0)
    image = torch.zeros(40, 4, SIDE, SIDE, dtype=torch.uint8)
    image[:, 3, :, : SIDE // 4] = 255  # a black bar at the left
    pictures, alpha = vae.augmented(image)
    assert {int(a[0, 0].argmax()) for a in alpha} == {0, SIDE - SIDE // 4}
    torch.testing.assert_close(pictures, (1 - 2 * alpha).expand_as(pictures))


def small_training(steps: int) -> tuple[nn.Module, trainer.Trainer]:
    torch.manual_seed(0)
    module = nn.Linear(4, 4)

    def loss() -> torch.Tensor:
        x = torch.randn(16, 4)
        return (module(x) - x.flip(1)).square().mean()

    return module, trainer.Trainer(module, loss, trainer.Plan(steps, None, 1e-2, warmup=5, every=0.0), capture=True)


def test_training_lowers_the_loss_and_the_average_follows() -> None:
    module, made = small_training(600)
    record = made.run(lambda: None, lambda _: None)
    assert record.steps == 600 and record.progress == 1 and record.loss < 0.05
    module.load_state_dict(made.averaged())
    x = torch.eye(4)
    torch.testing.assert_close(module(x), x.flip(1), atol=0.2, rtol=0)


def test_a_killed_training_continues_as_if_it_had_not_been(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    _, whole = small_training(60)
    whole.run(lambda: None, lambda _: None)
    _, broken = small_training(60)

    def save_and_die() -> None:
        broken.save(tmp_path / "state.pt")
        raise KilledError

    with pytest.raises(KilledError):
        broken.run(save_and_die, lambda _: None)
    _, resumed = small_training(60)
    torch.manual_seed(7)
    resumed.restore(tmp_path / "state.pt")
    assert resumed.record.steps == 20
    resumed.run(lambda: None, lambda _: None)
    for name, value in whole.averaged().items():
        assert torch.equal(value, resumed.averaged()[name])


def test_a_broken_loss_stops_the_training_and_saves_nothing(tmp_path: Path) -> None:
    module = nn.Linear(2, 2)

    def loss() -> torch.Tensor:
        return module(torch.ones(1, 2)).sum() * math.nan

    made = trainer.Trainer(module, loss, trainer.Plan(40, None, 1e-3, every=0.0), capture=False)
    with pytest.raises(FloatingPointError, match="loss became nan"):
        made.run(lambda: made.save(tmp_path / "state.pt"))
    assert not (tmp_path / "state.pt").exists()


def test_a_budget_ends_the_training_in_time() -> None:
    module = nn.Linear(2, 2)
    plan = trainer.Plan(10**9, 0.3, 1e-3)
    record = trainer.Trainer(module, lambda: module(torch.ones(1, 2)).sum().square(), plan, capture=False).run(
        lambda: None, lambda _: None
    )
    assert 0.3 <= record.seconds < 1.0 and record.progress == 1


@pytest.mark.slow
def test_the_folder_is_a_stable_diffusion_pipeline(result: Path) -> None:
    from diffusers import StableDiffusionPipeline

    folder = result / "sd-mini"
    words = read_caption_words(folder)
    assert words is not None and words["ball"] == 4 and words["box"] == 3 and "red" in words
    pipeline = StableDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    assert {p.dtype for p in pipeline.text_encoder.parameters()} == {torch.float32}
    assert (pipeline.vae.config.scaling_factor, pipeline.vae.config.shift_factor) == (1.0, None)
    picture = pipeline("a red ball", num_inference_steps=2).images[0]
    assert picture.size == (SIDE, SIDE)
    stored = export.folder_size(folder / "unet") / sum(p.numel() for p in pipeline.unet.parameters())
    assert stored < 2.2, "weights are stored in two bytes each"
    assert (folder / "tokenizer" / "vocab.json").exists() and (folder / "tokenizer" / "merges.txt").exists()


@pytest.mark.slow
def test_report_and_card(result: Path) -> None:
    figures = json.loads((result / "report" / "figures.json").read_text())["figures"]
    assert math.isfinite(figures["autoencoder"]["psnr_foreground"])
    assert 0 <= figures["prior"]["named_colour"] <= 1
    card = (result / "sd-mini" / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "CC0-1.0: 7" in card and "Creators: Ann" in card
    with Image.open(result / "report" / "prompts.png") as grid:
        assert grid.size == (4 * 2 * SIDE, 4 * (2 * SIDE + 16))


def test_a_second_start_trains_nothing_again(
    result: Path, folders: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    weights = result / "sd-mini" / "unet" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()
    arguments = ["--data", *map(str, folders), "--out", str(result), "--size", "tiny", "--device", "cpu"]
    assert train.main(arguments) == 0
    assert weights.read_bytes() == before
    assert "prior: 0.31 M parameters, from step 60" in capsys.readouterr().out
