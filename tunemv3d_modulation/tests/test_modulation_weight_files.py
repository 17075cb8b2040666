"""Weights in the forms that repositories have: variants, shards, pickles; and what is no weight at all."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from toy_model import load, toy_inputs

from tunemv3d_core.errors import ComponentError, TuneMV3DWarning


@pytest.fixture(scope="module")
def forms(folders, tmp_path_factory) -> dict[str, Path]:
    """A tiny pipeline as diffusers writes it in half precision, in shards and as pickles."""
    root = tmp_path_factory.mktemp("forms")
    pipe = DiffusionPipeline.from_pretrained(folders["mini"])
    pipe.save_pretrained(root / "sharded", max_shard_size="300KB")
    pipe.save_pretrained(root / "pickled", safe_serialization=False)
    # transformers writes safetensors whatever it is asked for; older versions did not.
    for file in root.glob("pickled/*/model.safetensors"):
        torch.save(load_file(file), file.with_name("pytorch_model.bin"))
        file.unlink()
    pipe.to(torch.float16).save_pretrained(root / "fp16", variant="fp16")
    pipe.save_pretrained(root / "fp16-sharded", variant="fp16", max_shard_size="200KB")
    return {folder.name: folder for folder in root.iterdir()}


def same(one, other) -> bool:
    weights = other.state_dict()
    return all(torch.equal(weight, weights[name]) for name, weight in one.state_dict().items())


@pytest.mark.parametrize("form", ["fp16", "fp16-sharded"])
def test_half_precision_alone_is_found_and_told(folders, forms, form):
    with pytest.warns(TuneMV3DWarning, match=rf"{form}: holds weights in half precision alone \(fp16\)"):
        found = load(forms[form])
    asked, whole = load(forms[form], variant="fp16"), load(folders["mini"])
    assert same(found, asked)
    half = found.unet.state_dict()
    assert all(torch.equal(half[name], weight.half().float()) for name, weight in whole.unet.state_dict().items())
    assert all(".fp16" in name for name in found.fingerprint())


def test_a_variant_is_taken_where_it_is_there(folders, forms, tmp_path, recwarn):
    folder = Path(shutil.copytree(folders["mini"], tmp_path / "both"))
    shutil.copy(forms["fp16"] / "unet/diffusion_pytorch_model.fp16.safetensors", folder / "unet")
    read = load(folder, variant="fp16").fingerprint()
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in read and "vae/diffusion_pytorch_model.safetensors" in read
    assert "unet/diffusion_pytorch_model.safetensors" in load(folder).fingerprint()
    with pytest.raises(ComponentError, match="no part has weights of the variant 'bf16'; leave 'variant' out"):
        load(folder, variant="bf16")
    for file in folder.glob("vae/*.safetensors"):
        file.rename(file.with_name("diffusion_pytorch_model.non_ema.safetensors"))
    with pytest.raises(ComponentError, match=r"both/vae: .*variants non_ema; ask for one by 'variant'"):
        load(folder)


@torch.no_grad()
def test_shards_are_the_model(folders, forms):
    sharded, whole = load(forms["sharded"]), load(folders["mini"])
    assert same(sharded, whole)
    read = sorted(name for name in sharded.fingerprint() if name.startswith("unet/"))
    assert read[-1] == "unet/diffusion_pytorch_model.safetensors.index.json" and len(read) > 3
    inputs, text = toy_inputs(), whole.encode_text(["a red chair", "a stool"])
    ours, theirs = (b.decode(b.encode(**inputs, text=text), None, inputs["t"], text) for b in (sharded, whole))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_missing_shard_is_named(forms, tmp_path):
    folder = Path(shutil.copytree(forms["sharded"], tmp_path / "less"))
    listed = json.loads((folder / "unet/diffusion_pytorch_model.safetensors.index.json").read_text())["weight_map"]
    gone = sorted(set(listed.values()))[0]
    (folder / "unet" / gone).unlink()
    with pytest.raises(
        ComponentError, match=rf"less/unet: .*in {len(set(listed.values()))} files, of which {gone} is missing"
    ):
        load(folder)


def test_pickles_are_read_on_request_alone(folders, forms, tmp_path):
    with pytest.raises(ComponentError, match=r"pickled/text_encoder: .*pickles \(\.bin\), .*option 'pickle'"):
        load(forms["pickled"])
    assert same(load(forms["pickled"], pickle=True), load(folders["mini"]))


class Harm:
    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_a_pickle_with_code_in_it_is_refused_and_runs_none(forms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for part in ("vae", "text_encoder"):
        folder = Path(shutil.copytree(forms["pickled"], tmp_path / part))
        (file,) = (folder / part).glob("*.bin")
        torch.save({"weight": Harm()}, file)
        with pytest.raises(ComponentError, match=f"cannot read {folder}/{part}"):
            load(folder, pickle=True)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_are_not_finite_or_no_floats_are_refused_by_name(folders, tmp_path, part):
    folder = Path(shutil.copytree(folders["mini"], tmp_path / "bad"))
    (file,) = (folder / part).glob("*.safetensors")
    weights = load_file(file)
    name = next(name for name in weights if "norm" in name)
    for number in (float("nan"), float("inf")):
        save_file(weights | {name: torch.full_like(weights[name], number)}, file, {"format": "pt"})
        with pytest.raises(ComponentError, match=rf"bad/{part}: .*1 weights are not finite, such as .*norm"):
            load(folder)
    for kind in (torch.int64, torch.bool, torch.float8_e4m3fn):
        save_file(weights | {name: weights[name].to(kind)}, file, {"format": "pt"})
        with pytest.raises(ComponentError, match=rf"bad/{part}: .*no floating-point numbers, such as {name}"):
            load(folder)
