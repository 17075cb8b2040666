"""Captions by a model are its own, come first, and survive interruption. Tiny random models of three families."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.posed_images import read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.captions.model import Captioner, caption_dataset
from tunemv3d_data.commands import app

transformers = pytest.importorskip("transformers")

WORDS = "a an the chair red brown blue wooden seat with legs office stool and grey on white four tall low".split()
FAMILIES = ("blip", "git", "vit-bert")


def tiny_model(folder: Path, family: str) -> Path:
    """A random model in the format in which the family is published, wide enough to tell pictures apart."""
    from transformers import (
        BertConfig,
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        GitConfig,
        GitForCausalLM,
        VisionEncoderDecoderConfig,
        VisionEncoderDecoderModel,
        ViTConfig,
    )

    torch.manual_seed(7)
    tokenizer = BertTokenizer(
        vocab={w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    )
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"vocab_size": len(tokenizer), "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    vision = {**sizes, "image_size": 32, "patch_size": 16}
    text = {**sizes, **special, "max_position_embeddings": 64}
    if family == "blip":
        text_config = {**text, "encoder_hidden_size": 32, "sep_token_id": 3}
        model = BlipForConditionalGeneration(
            BlipConfig(text_config=text_config, vision_config=vision, projection_dim=16, image_text_hidden_size=16)
        )
        processor = transformers.BlipImageProcessorPil(size={"height": 32, "width": 32})
    elif family == "git":
        model = GitForCausalLM(GitConfig(vision_config=vision, **text))
        processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    else:
        decoder = BertConfig(**text, is_decoder=True, add_cross_attention=True)
        config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**vision), decoder)
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 2, 0, 3
        model = VisionEncoderDecoderModel(config)
        model.generation_config.decoder_start_token_id = 2
        processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.5)
            elif len(parameter) == len(tokenizer):  # few specials, so that captions have words
                parameter[:5] = torch.tensor([-100.0, -100.0, -100.0, -3.0, -100.0])
    for part in (model, processor, tokenizer):
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three packaged chairs."""
    folder, source = tmp_path / "three", find_asset("chairs")
    manifest = read_json(source / "dataset.json")
    manifest["objects"] = manifest["objects"][:3]
    for entry in manifest["objects"]:
        shutil.copytree(source / "objects" / entry["id"], folder / "objects" / entry["id"])
    (folder / "dataset.json").write_text(json.dumps(manifest))
    return folder


def objects(folder: Path) -> list[Path]:
    return [folder / "objects" / entry["id"] for entry in read_json(folder / "dataset.json")["objects"]]


def on_white(path: Path) -> Image.Image:
    image = Image.open(path)
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white


def directly(model: Path, pictures: Sequence[Image.Image]) -> list[str]:
    """By the family's own classes, one picture at a time, greedy decoding written out as a loop."""
    config = read_json(model / "config.json")
    network = getattr(transformers, config["architectures"][0]).from_pretrained(model).eval()
    tokenizer = transformers.BertTokenizer.from_pretrained(model)
    kind = {"blip": "Blip", "git": "CLIP", "vision-encoder-decoder": "ViT"}[config["model_type"]]
    processor = getattr(transformers, f"{kind}ImageProcessorPil").from_pretrained(model)
    found = []
    for picture in pictures:
        pixels = processor(picture, return_tensors="pt")["pixel_values"]
        tokens = [2]
        while len(tokens) < 41 and tokens[-1] != 3:
            ids = torch.tensor([tokens])
            with torch.no_grad():
                if kind == "ViT":
                    logits = network(pixel_values=pixels, decoder_input_ids=ids).logits
                elif kind == "CLIP":
                    logits = network(pixel_values=pixels, input_ids=ids).logits
                else:
                    seen = network.vision_model(pixel_values=pixels).last_hidden_state
                    logits = network.text_decoder(input_ids=ids, encoder_hidden_states=seen).logits
            tokens.append(int(logits[0, -1].argmax()))
        words = tokenizer.convert_ids_to_tokens(tokens)
        found.append(" ".join(word for word in words if not word.startswith("[")))
    return found


def test_captions_are_what_the_model_says_of_each_picture(model: Path, dataset: Path) -> None:
    pictures = [on_white(folder / "000.webp") for folder in objects(dataset)]
    expected = directly(model, pictures)
    captioner = Captioner(str(model), torch.device("cpu"))
    assert captioner(pictures) == expected and all(expected)
    assert len(set(expected)) > 1  # the model tells pictures apart
    before = [read_object(folder) for folder in objects(dataset)]
    results = caption_dataset(dataset, captioner, str(model), views=1, batch=2)
    assert [result.status for result in results] == ["captioned"] * 3
    for folder, was, caption in zip(objects(dataset), before, expected, strict=True):
        record = read_object(folder)
        assert record.captions == (caption, *was.captions)
        assert record.extra == {**was.extra, "caption_model": str(model)}
        assert torch.equal(record.cameras.camera_to_world, was.cameras.camera_to_world)


def test_a_model_stored_in_half_precision_captions_too(model: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "half")
    whole = transformers.AutoModelForImageTextToText.from_pretrained(model)
    whole.to(torch.bfloat16).save_pretrained(tmp_path / "half")
    captioner = Captioner(str(tmp_path / "half"), torch.device("cpu"))
    assert captioner.model.dtype == torch.bfloat16
    assert all(captioner([on_white(objects(dataset)[0] / "000.webp")]))


class Counting:
    """Says the colour of a picture's middle and counts what it was asked."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.batches: list[int] = []
        self.stop_after = stop_after

    def __call__(self, pictures: Sequence[Image.Image]) -> list[str]:
        if len(self.batches) == self.stop_after:
            raise KeyboardInterrupt
        self.batches.append(len(pictures))
        assert all(picture.mode == "RGB" and picture.getpixel((0, 0)) == (255, 255, 255) for picture in pictures)
        return ["middle {} {} {}".format(*picture.getpixel((64, 64))) for picture in pictures]


def test_views_are_spread_evenly_and_batches_cross_objects(dataset: Path) -> None:
    captioner = Counting()
    caption_dataset(dataset, captioner, "m", views=4, batch=8)
    assert captioner.batches == [8, 4]
    for folder in objects(dataset):
        wanted = [
            "middle {} {} {}".format(*on_white(folder / f"{v:03d}.webp").getpixel((64, 64))) for v in (0, 6, 12, 18)
        ]
        assert read_object(folder).captions[: len(set(wanted))] == tuple(dict.fromkeys(wanted))


def test_a_killed_run_goes_on_and_finished_objects_are_skipped(dataset: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        caption_dataset(dataset, Counting(stop_after=1), "m", views=2, batch=4)
    said = ["caption_model" in read_object(folder).extra for folder in objects(dataset)]
    assert said == [True, True, False]
    again = Counting()
    assert [r.status for r in caption_dataset(dataset, again, "m", views=2, batch=4)] == ["kept", "kept", "captioned"]
    assert again.batches == [2]
    before = read_object(objects(dataset)[0]).captions
    caption_dataset(dataset, Counting(), "other", views=2)  # another model is asked again, without repetition
    assert read_object(objects(dataset)[0]).captions == before
    caption_dataset(dataset, Counting(), "third", views=1, replace=True)
    assert len(read_object(objects(dataset)[0]).captions) == 1


def test_unknown_keys_of_transforms_stay(dataset: Path) -> None:
    path = objects(dataset)[0] / "transforms.json"
    content = read_json(path)
    content["frames"][3]["depth_file_path"] = "003.depth.png"
    path.write_text(json.dumps(content))
    caption_dataset(dataset, Counting(), "m")
    after = read_json(path)
    assert after["frames"] == content["frames"] and list(after)[-1] == "frames"


def test_damaged_objects_and_silent_models_are_listed(dataset: Path) -> None:
    (objects(dataset)[0] / "000.webp").write_bytes(b"damaged")
    results = caption_dataset(dataset, lambda pictures: ["" for _ in pictures], "m", views=1)
    assert [result.status for result in results] == ["refused"] * 3
    assert "000.webp" in results[0].note and "says nothing" in results[1].note
    assert "caption_model" not in read_object(objects(dataset)[1]).extra


def test_an_unusable_model_is_refused_before_anything_is_written(dataset: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path / "bert")
    (tmp_path / "empty").mkdir()
    incomplete = tiny_model(tmp_path / "blip", "blip")
    (incomplete / "tokenizer.json").unlink()
    (incomplete / "tokenizer_config.json").unlink()
    before = {path: path.read_bytes() for path in dataset.rglob("*.json")}
    for name in ("bert", "empty", "blip", "nowhere"):
        arguments = ["caption", str(dataset), "--model", str(tmp_path / name)]
        outcome = CliRunner().invoke(app, arguments)
        assert isinstance(outcome.exception, TuneMV3DError), outcome.output
        assert "blip-image-captioning-base" in str(outcome.exception) and str(tmp_path / name) in str(outcome.exception)
    outcome = CliRunner().invoke(app, ["caption", str(dataset), "--model", "blipp"])
    assert "--model blipp: no such folder" in str(outcome.exception)
    assert before == {path: path.read_bytes() for path in dataset.rglob("*.json")}


def test_the_command_captions_and_reports(dataset: Path, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "blip", "blip")
    arguments = ["caption", str(dataset), "--model", str(model), "--views", "1", "--device", "cpu"]
    outcome = CliRunner().invoke(app, [*arguments, "--json"])
    assert outcome.exit_code == 0, outcome.output
    assert {entry["status"] for entry in json.loads(outcome.stdout)["results"]} == {"captioned"}
    (objects(dataset)[1] / "transforms.json").unlink()
    outcome = CliRunner().invoke(app, arguments)
    assert outcome.exit_code == 1 and "2 kept, 1 refused" in outcome.stdout
    outcome = CliRunner().invoke(app, ["caption", str(tmp_path), "--model", str(model)])
    assert isinstance(outcome.exception, DatasetError)
