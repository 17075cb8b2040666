"""The recipe of the packaged CLIP, at its tiny size on drawn shapes."""

import json
import math
import random
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import PosedImages, write_manifest, write_object

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipe"))

from clip_mini import __main__, losses, pack, texts
from clip_mini.texts import NONE, Attributes

SHADES = {"red": (200, 32, 36), "green": (48, 150, 62), "blue": (38, 78, 190), "pink": (238, 140, 182)}
SIDE = 32


def draw_renders(folder: Path) -> Path:
    """Boxes and balls in four colours as three datasets; held out are blue ones."""
    for world in pack.FOLDERS:
        splits = {}
        for word, rgb in SHADES.items():
            if (word == "blue") != (world == "held_out"):
                continue
            for shape in ("box", "chair"):
                place = folder / world / "objects" / f"{word}-{shape}"
                place.mkdir(parents=True)
                for k in range(2):
                    picture = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
                    brush = ImageDraw.Draw(picture)
                    (brush.rectangle if shape == "box" else brush.ellipse)((8 + k, 8, 24 + k, 24), fill=(*rgb, 255))
                    picture.save(place / f"{k:03d}.webp", lossless=True)
                cameras = Cameras.look_at(torch.tensor([[2.7, 0.0, 0.5], [0.0, 2.7, 0.5]]))
                extra = {"type": shape, "colour": word, "base": place.name}
                captions = (f"a {word} {shape}", f"a {word} {shape} with pink legs")
                files = ("000.webp", "001.webp")
                write_object(
                    place, PosedImages(place.name, cameras, (SIDE, SIDE), captions, files, "CC0-1.0", "Ann", "x", extra)
                )
                splits[place.name] = "train"
        write_manifest(folder / world, world, splits)
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("clip")
    out = root / "pack.safetensors"
    assert __main__.main(["pack", "--renders", str(draw_renders(root / "renders")), "--out", str(out)]) == 0
    return out


def test_the_pack_holds_the_pictures_over_white_and_the_attributes(packed: Path) -> None:
    objects, pictures = pack.read_pack(packed)
    assert pictures.shape == (14, 2, 3, SIDE, SIDE)
    found = next(k for k, each in enumerate(objects) if each.id == "red-box")
    assert objects[found].attributes == Attributes("box", "red", "pink", "legs", NONE, NONE)
    assert (pictures[found, 0, :, 16, 16].int() - torch.tensor(SHADES["red"])).abs().max() < 12
    assert pictures[found, 0, :, 2, 2].min() > 250
    assert {each.id for each in objects if each.world == "held_out"} == {"blue-box", "blue-chair"}


def test_training_writes_a_folder_that_transformers_loads(packed: Path, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    torch.set_num_threads(1)
    arguments = ["train", "--data", str(packed), "--out", str(tmp_path), "--size", "tiny", "--device", "cpu"]
    assert __main__.main(arguments) == 0
    folder = tmp_path / "clip-mini"
    model = CLIPModel.from_pretrained(folder)
    assert {value.dtype for value in model.state_dict().values() if value.is_floating_point()} == {torch.float16}
    tokens = AutoTokenizer.from_pretrained(folder)(["a red box"]).input_ids[0]
    assert tokens[0] == model.config.text_config.bos_token_id and tokens[-1] == model.config.text_config.eos_token_id
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    white = processor(images=[Image.new("RGB", (40, 40), "white")], return_tensors="pt").pixel_values
    assert white.shape == (1, 3, SIDE, SIDE) and white.min() == 1
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert figures["training"]["objects"] == 12 and figures["held_out"]["objects"] == 2
    assert "CC0-1.0: 6" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("kind", "main", "captions", "wanted"),
    [
        ("office chair", "red", ("a red office chair with a black base",), ("black", "base", NONE, NONE)),
        ("chair", "light blue", ("a tall light blue and red chair",), ("red", NONE, NONE, "tall")),
        ("chair", "beige", ("a beige wooden chair with a light blue seat",), ("light blue", "seat", "wooden", NONE)),
        ("chair", "blue", ("a blue chair with grey metal legs",), ("grey", "legs", NONE, NONE)),
        ("folding chair", "grey", ("a grey folding chair",), (NONE, NONE, NONE, NONE)),
    ],
)
def test_attributes_are_read_from_captions(kind: str, main: str, captions: tuple[str, ...], wanted: tuple) -> None:
    assert texts.attributes_of(kind, main, captions) == Attributes(kind, main, *wanted)


def test_a_varied_text_says_what_it_is_said_to_name() -> None:
    whole = Attributes("office chair", "red", "black", "base", "leather", "tall")
    for seed in range(300):
        text, told = texts.vary(whole, random.Random(seed))
        assert told.fits(whole) and text.strip() == text and "  " not in text and NONE not in text
        for word in ("red", "black", "leather", "tall"):
            assert (word in text.split() or f"{word}," in text.split()) == (word in vars(told).values()), text


def test_the_loss_agrees_with_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    n = 12
    objects = torch.randint(1, 3, (n, 3), generator=generator)
    told = objects * torch.randint(0, 2, (n, 3), generator=generator)
    a, b = torch.nn.functional.normalize(torch.randn(2, n, 8, generator=generator, dtype=torch.float64), dim=-1)
    total = 0.0
    for i in range(n):
        own = 7.0 * float(a[i] @ b[i])
        to_text, to_picture = [own], [own]
        for j in range(n):
            if j == i:
                continue
            fits = all(int(t) in (0, int(o)) for t, o in zip(told[j], objects[i], strict=True))
            if not (fits and int((told[j] > 0).sum()) >= int((told[i] > 0).sum())):
                to_text.append(7.0 * float(a[i] @ b[j]))
            if not all(int(t) in (0, int(o)) for t, o in zip(told[i], objects[j], strict=True)):
                to_picture.append(7.0 * float(a[j] @ b[i]))
        for others in (to_text, to_picture):
            total += math.log(sum(math.exp(v - own) for v in others)) / (2 * n)
    assert losses.contrast(a, b, torch.tensor(7.0), objects, told).item() == pytest.approx(total, rel=1e-5)


def test_augmentation_keeps_the_ground_white_and_the_colour() -> None:
    torch.manual_seed(0)
    pictures = torch.ones(64, 3, 32, 32)
    pictures[:, 1:, 10:22, 10:22] = 0.1
    pictures[:, 0, 10:22, 10:22] = 0.8
    made = losses.augment(pictures)
    assert made.shape == pictures.shape and made.min() >= 0 and made.max() <= 1
    assert (made[:, :, 0].mean((1, 2)) > 0.95).all()
    middle = made[:, :, 14:18, 14:18].mean((0, 2, 3))
    assert middle[0] == pytest.approx(0.8, abs=0.06) and middle[1] == pytest.approx(0.1, abs=0.06)
