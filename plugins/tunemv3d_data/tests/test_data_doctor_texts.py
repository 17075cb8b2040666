"""What the doctor says of captions and credits."""

import json
from pathlib import Path

import pytest
from planted_faults import CHAIRS, FIRST, edit, found, four_chairs
from typer.testing import CliRunner

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.doctor.examine import Round, examine
from tunemv3d_data.layouts import open_dataset


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    return four_chairs(tmp_path / "chairs")


@pytest.mark.parametrize(
    ("captions", "check"),
    [([], "caption-missing"), (["a chair", "  "], "caption-empty"), (["a very old chair " * 30], "caption-long")],
)
def test_captions(chairs: Path, captions: list[str], check: str) -> None:
    edit(chairs, lambda content: content.update(captions=captions), (FIRST,))
    (finding,) = found(chairs, check)
    assert finding.object == FIRST


def test_the_models_own_tokenizer_counts(chairs: Path) -> None:
    """A caption of 78 tokens by sd-mini's tokenizer is too long, one of 77 is not."""
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(find_asset("sd-mini") / "tokenizer")
    words = ["chair"] * 10
    while len(tokenizer(" ".join(words))["input_ids"]) < tokenizer.model_max_length:
        words.append("red")
    assert len(tokenizer(" ".join(words))["input_ids"]) == tokenizer.model_max_length
    edit(chairs, lambda content: content.update(captions=[" ".join(words)]), (FIRST,))
    assert examine(Round(open_dataset(chairs), text_encoder="sd-mini")) == []
    edit(chairs, lambda content: content.update(captions=[" ".join([*words, "red"])]), (FIRST,))
    (finding,) = examine(Round(open_dataset(chairs), text_encoder=str(find_asset("sd-mini"))))
    assert finding.check == "caption-long"
    assert finding.numbers == {"tokens": tokenizer.model_max_length + 1, "limit": tokenizer.model_max_length}


def test_a_text_encoder_without_a_tokenizer_is_refused(chairs: Path, tmp_path: Path) -> None:
    with pytest.raises(ComponentError, match="no tokenizer there"):
        examine(Round(open_dataset(chairs), text_encoder=str(tmp_path)))


def test_one_caption_for_most_objects_is_a_warning(tmp_path: Path) -> None:
    from tunemv3d_core.cameras import Cameras
    from tunemv3d_core.io.posed_images import PosedImages
    from tunemv3d_data.doctor.checks.texts import common_captions

    def record(index: int, caption: str) -> PosedImages:
        return PosedImages(str(index), Cameras.orbit(1), (8, 8), (caption, f"object {index}"))

    same = [record(i, "an object" if i < 6 else "a chair") for i in range(10)]
    (finding,) = common_captions(same)
    assert finding.level == "warning" and finding.numbers == {"objects": 6} and '"an object"' in finding.text
    assert list(common_captions([record(i, f"a chair of kind {i % 3}") for i in range(10)])) == []


def test_works_of_an_opt_out_list_are_errors(chairs: Path, tmp_path: Path) -> None:
    edit(chairs, lambda content: content.update(creator="Ann & Bob"), (FIRST,))
    (tmp_path / "list.txt").write_text("bob\n", encoding="utf-8")
    options = {"--out": tmp_path / "seen", "--opt-out": tmp_path / "list.txt", "--workers": 1}
    words = [str(word) for option in options.items() for word in option]
    done = CliRunner().invoke(app, ["check", str(chairs), *words, "--json"])
    (finding,) = [each for each in json.loads(done.stdout)["found"] if each["check"] == "opted-out"]
    assert done.exit_code == 1 and (finding["object"], finding["level"]) == (FIRST, "error")
    assert finding["text"] == "the opt-out list has 'bob'" and "data.opt_out" in finding["advice"]


@pytest.mark.slow
def test_credits(chairs: Path) -> None:
    by = CHAIRS[1]
    edit(chairs, lambda content: content.update(creator=""), (FIRST, by))
    for licence in ("CC-BY-3.0", "CC BY 4.0", "Creative Commons Attribution"):
        edit(chairs, lambda content, licence=licence: content.update(licence=licence), (by,))
        (finding,) = found(chairs, "creator-missing")
        assert finding.object == by
    (chairs / "ATTRIBUTION.md").unlink()
    findings = found(chairs, "creator-missing", "attribution-missing")
    assert by in findings[-1].others and FIRST not in findings[-1].others
    assert "run tunemv3d data attributions" in findings[-1].advice
    CliRunner().invoke(app, ["attributions", str(chairs)])
    found(chairs, "creator-missing")
