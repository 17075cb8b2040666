"""A run says what its 2D model knows of the dataset, shows the dataset's own captions, and calls nothing held out that
is trained on."""

import json
from pathlib import Path

import pytest
import train_stand_ins as tiny
from PIL import Image

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io.caption_words import FILE, read_caption_words, words_in, write_caption_words
from tunemv3d_core.slots import KnowsCaptionWords
from tunemv3d_core.viz.curves import read_curves
from tunemv3d_train import preview
from tunemv3d_train.known_words import KnownWords, known_words
from tunemv3d_train.multiview import MultiviewImages
from tunemv3d_train.trainer import train

STEP = ["train.steps=1"]
# Captions of the tiny dataset: "disc number 0", "a disc, 0" and so on.


class Knowing:
    """A backbone that knows some words."""

    def __init__(self, words: dict[str, int] | None) -> None:
        self._words = words

    def caption_words(self) -> dict[str, int] | None:
        return self._words


@pytest.fixture
def discs(tmp_path: Path) -> MultiviewImages:
    return MultiviewImages(tiny.write_dataset(tmp_path / "own"))


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_words_are_counted_against_those_of_the_models_training(discs: MultiviewImages) -> None:
    found = known_words(Knowing({"disc": 3, "chair": 400}), discs, [0, 1])  # type: ignore[arg-type]
    assert found == KnownWords(objects=2, strange=2, words=2, never={"number": 2}, seldom={"disc": 3})
    assert found.sentence.startswith(
        "the 2D model's training captions hold 1 of the 2 words in the captions of 2 objects (50%); not: number; "
        "for fewer than 10 objects: disc (3); 2 objects are called so. Samples of what it does not know are smears"
    )
    known = known_words(Knowing({"disc": 30, "number": 10}), discs, [0])  # type: ignore[arg-type]
    assert known is not None and known.sentence.endswith("of 1 objects (100%)")


def test_many_unknown_words_are_named_by_how_many_objects_have_them() -> None:
    never = {f"word{i}": i for i in range(12)}
    assert (
        "not: word11, word10, word9, word8, word7, word6, word5, word4 and 4 more"
        in KnownWords(20, 12, 12, never, {}).sentence
    )


def test_of_a_model_that_tells_nothing_nothing_is_claimed(
    discs: MultiviewImages, spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert known_words(Knowing(None), discs, [0]) is None  # type: ignore[arg-type]
    assert not isinstance(tiny.TinyBackbone(), KnowsCaptionWords)
    train(load_spec(spec_file, STEP), tmp_path / "run")
    assert "captions" not in said(capsys) and not (tmp_path / "run" / "known_words.json").exists()
    assert "training captions" not in (tmp_path / "run" / "index.html").read_text()


def test_a_run_says_it_before_the_first_step_and_on_its_page(
    spec_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny.TinyBackbone, "caption_words", lambda self: {"disc": 50}, raising=False)
    train(load_spec(spec_file, STEP), tmp_path / "run")
    heard = said(capsys)
    sentence = "training captions hold 1 of the 2 words in the captions of 3 objects (50%); not: number"
    assert heard.count(sentence) == 1 and heard.index(sentence) < heard.index("step 1")
    assert sentence in (tmp_path / "run" / "index.html").read_text()
    recorded = json.loads((tmp_path / "run" / "known_words.json").read_text())
    assert recorded["never"] == {"number": 3} and sentence in recorded["sentence"]


def test_only_what_was_held_out_is_called_so(offered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tiny.write_dataset(tmp_path / "discs", splits=("train",) * 3)
    outcome = train(load_spec(tiny.write_spec(tmp_path / "spec.json", data), STEP), tmp_path / "run")
    heard = said(capsys)
    assert outcome.measured.startswith("3 objects that are trained on (none is held out)")
    assert "the figures are of objects that are trained on" in heard and "--held-out N" in heard
    names = read_curves(tmp_path / "run" / "metrics.jsonl")
    assert not [name for name in names if name.startswith("held_out/")]
    assert list(names)[-1].startswith("trained_on/") and "trained_on/neus" in names
    assert "held_out/" not in (tmp_path / "run" / "index.html").read_text()


def test_previews_are_of_the_datasets_own_captions_each_once(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[str]] = []

    def seen(path: Path, prompts: list[str], rows: object, by: object) -> None:
        shown.append(prompts)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)

    monkeypatch.setattr(preview, "write_rows", seen)
    train(load_spec(spec_file, STEP), tmp_path / "run")
    same = tmp_path / "discs" / "objects" / "disc4" / "transforms.json"
    same.write_text(same.read_text().replace("disc number 4", "disc number 3"))
    train(load_spec(spec_file, STEP), tmp_path / "same")
    train(load_spec(spec_file, [*STEP, 'train.preview_prompts=["a ball"]']), tmp_path / "asked")
    assert shown == [["disc number 3", "disc number 4"], ["disc number 3"], ["a ball"]]


def test_the_file_of_words_is_read_as_written_and_a_damaged_one_claims_nothing(tmp_path: Path) -> None:
    assert words_in(["A red-and-white chair.", "an F16 in 3D"]) == {"red", "and", "white", "chair", "f16"}
    write_caption_words(tmp_path, {"chair": 4, "été": 1}, "by hand")
    assert read_caption_words(tmp_path) == {"chair": 4, "été": 1}
    for text in ("{", "[]", '{"words": [1]}', '{"words": {"chair": "many"}}'):
        (tmp_path / FILE).write_text(text)
        assert read_caption_words(tmp_path) is None
    assert read_caption_words(tmp_path / "none") is None
