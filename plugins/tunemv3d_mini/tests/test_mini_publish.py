"""The adapter's pictures are cut from the evaluation's without mixing up strengths."""

import runpy
from pathlib import Path

import pytest
from PIL import Image

RECIPE = Path(__file__).resolve().parents[1] / "recipe/adapters"
CARD = runpy.run_path(str(RECIPE / "model_card.py"))
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(RECIPE))
    PUBLISH = runpy.run_path(str(RECIPE / "publish.py"))
STRENGTHS = [1.0, 0.0, 2.0]


def sheet(folder: Path) -> Path:
    """A title of 28 rows, then three strips of 10 rows for every K: red tells K, green the strip."""
    picture = Image.new("RGB", (16, 28 + 10 * 9), "white")
    for block, k in enumerate(STRENGTHS):
        for strip in range(3):
            picture.paste(
                (int(100 * k), 50 * strip, 0), (0, 28 + 10 * (3 * block + strip), 16, 28 + 10 * (3 * block + strip + 1))
            )
    picture.save(folder / "000.png")
    return folder / "000.png"


def test_strips_are_those_of_the_wanted_strengths_below_the_title(tmp_path: Path) -> None:
    made = PUBLISH["Sheet"](sheet(tmp_path), {"checkpoints": [{"consistency": STRENGTHS}]})
    cut = made.strips((0.0, 1), (2.0, 3))
    assert cut.size == (16, 28 + 10 + 30)
    assert cut.getpixel((3, 5)) == (255, 255, 255)
    assert [cut.getpixel((3, 28 + 10 * i + 5)) for i in range(4)] == [
        (0, 0, 0),
        (200, 0, 0),
        (200, 50, 0),
        (200, 100, 0),
    ]


def test_figures_go_by_the_published_name() -> None:
    mean = {"checkpoint": "run", "consistency": 1.0, "control": None, "figure": "hull_recall", "mean": 0.9}
    pair = {"a": "run", "b": "run", "figure": "hull_recall", "difference": 0.1}
    report = {"date": "today", "checkpoints": [{"label": "run", "name": "runs/run", "spec_id": "0"}], "paired": [pair]}
    told = PUBLISH["renamed"]({**report, "means": [mean], "rows": []}, "chairs-mini")
    assert told["checkpoints"] == [{"label": "chairs-mini", "name": "chairs-mini", "spec_id": "0"}]
    assert told["means"] == [mean | {"checkpoint": "chairs-mini"}] and told["date"] == "today"
    assert told["paired"] == [pair | {"a": "chairs-mini", "b": "chairs-mini"}]


def test_a_row_of_the_card_has_intervals_and_says_what_is_missing() -> None:
    means = {
        "hull_recall": {"mean": 0.92664, "low": 0.91, "high": 0.9412},
        "leave_one_out": {"mean": 20.507, "low": None, "high": None},
    }
    row = CARD["_row"]("1.5", means)
    assert row == "| 1.5 | 0.9266 (0.91 to 0.941) | - | 20.51 | - | - | - |"


def test_what_prompts_name_is_told_at_every_strength() -> None:
    figures = CARD["NAMED"]
    means = [
        {"figure": name, "consistency": k, "control": None, "mean": 0.9 - k / 10, "low": 0.5, "high": 1.0, "n": n}
        for n, name in enumerate(figures, start=3)
        for k in (0.0, 1.5)
    ]
    told = CARD["met"]({"means": means, "device": "a card", "date": "2026-11-30T04:08:06+00:00"}).splitlines()
    assert told[1].startswith("7 prompts by rule") and told[1].endswith("; a card, 2026-11-30.")
    assert told[3].startswith("| K | main colour (of 3) | type (of 4) |")
    assert told[-1] == "| 1.5 |" + " 0.75 (0.5 to 1) |" * len(figures)
