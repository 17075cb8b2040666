"""CLIP models that judge, against transformers' own forward pass."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from clip_toys import SIDE, write_processor, write_tiny_clip, write_tiny_siglip
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, CLIPTextModel

from tunemv3d_core.errors import ComponentError
from tunemv3d_eval.clip.retrieval import load_clip

TEXTS = ["a red chair", "A Blue stool with white legs, and much more than fits", ""]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_siglip(tmp_path_factory.mktemp("siglip"))


def _pictures(n: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 24, 24), generator=torch.Generator().manual_seed(2)) / 127.5 - 1


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_scores_are_those_of_transformers(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    scorer = load_clip(str(folder))
    scores = scorer.images(_pictures()) @ scorer.texts(TEXTS).T

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    bytes_ = ((_pictures() + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(
        images=[Image.fromarray(each) for each in bytes_], return_tensors="pt"
    )
    # CLIP: padded to the longest and masked; SigLIP, by its documentation: padded to full length, no mask.
    padding = {"padding": True} if kind == "clip" else {"padding": "max_length"}
    length = model.config.text_config.max_position_embeddings
    tokens = AutoTokenizer.from_pretrained(folder)(
        TEXTS, truncation=True, max_length=length, return_tensors="pt", **padding
    )
    given = dict(tokens) if kind == "clip" else {"input_ids": tokens.input_ids}
    with torch.no_grad():
        theirs = model(**given, **pixels).logits_per_image
    offset = float(model.logit_bias.detach()) if kind == "siglip" else 0.0
    assert theirs.std() > 0.01  # else all agree with all
    torch.testing.assert_close(scores * scorer.logit_scale + offset, theirs, atol=1e-4, rtol=1e-4)
    assert scorer.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))


def test_a_score_does_not_depend_on_what_else_is_asked(clip: Path) -> None:
    scorer = load_clip(str(clip))
    alone = torch.cat([scorer.texts([text]) for text in TEXTS])
    torch.testing.assert_close(alone, scorer.texts(TEXTS), atol=1e-5, rtol=1e-5)
    one = torch.cat([scorer.images(each[None]) for each in _pictures()])
    torch.testing.assert_close(one, scorer.images(_pictures()), atol=1e-5, rtol=1e-5)


def test_identity_tells_weights_and_preprocessing_apart(tmp_path: Path) -> None:
    folder = write_tiny_clip(tmp_path / "clip")
    one = load_clip(str(folder)).identity
    load_clip.cache_clear()
    assert load_clip(str(folder)).identity == one and str(folder) in one
    write_processor(folder, resample=2)
    load_clip.cache_clear()
    other = load_clip(str(folder)).identity
    write_tiny_clip(folder, seed=3)
    load_clip.cache_clear()
    assert len({one, other, load_clip(str(folder)).identity}) == 3


def _without_processor(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()


def _other_processor(folder: Path) -> None:
    settings = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    settings["image_processor_type"] = "MyOwnImageProcessor"
    (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _other_size(folder: Path) -> None:
    write_processor(folder, side=SIDE + 8)


def _half_of_it(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "vision" not in k}, folder / "model.safetensors", {"format": "pt"})


def _no_clip(folder: Path) -> None:
    from transformers import CLIPTextConfig

    CLIPTextModel(
        CLIPTextConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_attention_heads=1)
    ).save_pretrained(folder)


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (_without_processor, "preprocessor_config.json"),
        (_other_processor, "MyOwnImageProcessor"),
        (_other_size, "size"),
        (_half_of_it, "vision_model"),
        (_no_clip, "clip_text_model"),
    ],
)
def test_what_cannot_judge_is_refused_by_name(tmp_path: Path, damage: Callable[[Path], None], word: str) -> None:
    folder = write_tiny_clip(tmp_path / "mine")
    damage(folder)
    with pytest.raises(ComponentError) as error:
        load_clip(str(folder))
    assert str(folder) in str(error.value) and word in str(error.value)


def test_an_unknown_name_is_refused_without_asking_the_hub() -> None:
    with pytest.raises(ComponentError, match="no-such-clip"):
        load_clip("no-such-clip")


def test_the_conditioning_text_encoder_is_recognised(clip: Path, siglip: Path) -> None:
    conditioning = torch.nn.ModuleDict({"text_encoder": CLIPTextModel.from_pretrained(clip)}).half()
    assert load_clip(str(clip)).shares_text_encoder(conditioning)
    assert not load_clip(str(siglip)).shares_text_encoder(conditioning)
    with torch.no_grad():
        conditioning["text_encoder"].get_input_embeddings().weight[0, 0] += 1
    assert not load_clip(str(clip)).shares_text_encoder(conditioning)
