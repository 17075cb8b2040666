"""Textual inversions on top of a backbone, against diffusers' own pipeline."""

from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file
from toy_model import load

from tunemv3d_core.errors import ComponentError


def embedding(path: Path, word: str, vectors: int, width: int = 32) -> Path:
    generator = torch.Generator().manual_seed(vectors)
    save_file({word: torch.randn(vectors, width, generator=generator)}, path)
    return path


def test_textual_inversions_are_those_of_diffusers(folders, tmp_path):
    other, theirs_too = load(folders["mini"]), DiffusionPipeline.from_pretrained(folders["mini"])
    one, three = (
        embedding(tmp_path / "one.safetensors", "<toy>", 1),
        embedding(tmp_path / "many.safetensors", "<hat>", 3),
    )
    for file in (one, three):
        other.load_textual_inversion(file)
        theirs_too.load_textual_inversion(str(file))
    for prompt in ("a <toy> chair", "<hat> on a <toy>", "a chair"):
        wanted = theirs_too.encode_prompt(prompt, "cpu", 1, False)[0]
        assert float((other.encode_text([prompt]).tokens - wanted).abs().max()) == 0.0
    assert not torch.equal(other.encode_text(["<hat>"]).tokens, load(folders["mini"]).encode_text(["<hat>"]).tokens)
    assert not any(parameter.requires_grad for parameter in other.parameters())
    with pytest.raises(ComponentError, match="its word '<toy>' is taken"):
        other.load_textual_inversion(one)
    other.load_textual_inversion(one, token="<toy-2>")
    with pytest.raises(ComponentError, match="another model: its vectors have 48 numbers, not 32"):
        other.load_textual_inversion(embedding(tmp_path / "w.safetensors", "<w>", 2, 48))
    (tmp_path / "old.pt").write_bytes(b"")
    with pytest.raises(ComponentError, match=r"no \.safetensors file; pickles"):
        other.load_textual_inversion(tmp_path / "old.pt")


@pytest.mark.slow
def test_textual_inversions_of_xl_hold_vectors_for_both_encoders(folders, tmp_path):
    other, theirs_too = load(folders["sdxl"]), DiffusionPipeline.from_pretrained(folders["sdxl"])
    vectors = {"clip_l": torch.randn(2, 32), "clip_g": torch.randn(2, 48)}
    save_file(vectors, tmp_path / "hat.safetensors")
    other.load_textual_inversion(tmp_path / "hat.safetensors")
    for key, end in (("clip_l", ""), ("clip_g", "_2")):
        parts = {name: getattr(theirs_too, name + end) for name in ("tokenizer", "text_encoder")}
        theirs_too.load_textual_inversion(vectors[key], token="hat", **parts)
    wanted, _, pooled, _ = theirs_too.encode_prompt("a hat", device="cpu", do_classifier_free_guidance=False)
    text = other.encode_text(["a hat"])
    assert float((text.tokens - wanted).abs().max()) == 0.0 and float((text.pooled - pooled).abs().max()) == 0.0
    with pytest.raises(ComponentError, match="no vectors for the second text encoder"):
        other.load_textual_inversion({"<x>": torch.randn(1, 32)})


def test_words_of_a_tokenizer_that_was_saved_with_several_vectors(folders, tmp_path):
    """As people publish whole pipelines with an inversion inside."""
    pipe = DiffusionPipeline.from_pretrained(folders["mini"])
    pipe.load_textual_inversion(str(embedding(tmp_path / "h.safetensors", "<hat>", 3)))
    pipe.save_pretrained(tmp_path / "with")
    wanted = pipe.encode_prompt("a <hat>", "cpu", 1, False)[0]
    assert float((load(tmp_path / "with").encode_text(["a <hat>"]).tokens - wanted).abs().max()) == 0.0
