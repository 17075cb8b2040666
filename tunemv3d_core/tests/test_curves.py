"""Curves of a run as they are read and as they are drawn."""

import json
import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.viz.curves import HEIGHT, WIDTH, chart, read_curves


def test_figures_by_noise_level_are_their_mean_and_what_is_no_figure_is_left_out(tmp_path: Path) -> None:
    lines = [
        {"step": 0, "seconds": 1, "held_out/denoise/t=50": 1.0, "held_out/denoise/t=950": 4.0, "held_out/neus": 0.5},
        {"step": 10, "loss": 3, "denoise": 2.0, "denoise/t=0-200": 9.0, "lr": 0.1, "steps_per_s": 2.0},
        {"step": 20, "loss": 2, "note": "text"},
    ]
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 30, "lo')
    assert read_curves(path) == {
        "loss": [(10, 3.0), (20, 2.0)],
        "denoise": [(10, 2.0)],
        "held_out/denoise": [(0, 2.5)],
        "held_out/neus": [(0, 0.5)],
    }
    assert next(iter(read_curves(path))) == "loss"


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\nnonsense\n{"step": 2}\n')
    with pytest.raises(TuneMV3DError, match=r"metrics\.jsonl: line 2"):
        read_curves(path)
    with pytest.raises(TuneMV3DError, match=r"none\.jsonl: cannot be read"):
        read_curves(tmp_path / "none.jsonl")


def test_lines_are_affine_pictures_of_the_figures() -> None:
    lines = {"<a>": [(0, 4.0), (50, 1.0), (100, 2.0)], "b": [(20, 3.0), (80, 0.0)]}
    drawn = ElementTree.fromstring(chart("loss & more", lines, ["red", "blue"]))
    assert drawn.get("aria-label") == "loss & more"
    lines_drawn = drawn.findall(".//polyline")
    assert [line.get("stroke") for line in lines_drawn] == ["red", "blue"]
    given = [point for curve in lines.values() for point in curve]
    built = [tuple(map(float, pair.split(","))) for line in lines_drawn for pair in line.get("points", "").split()]
    assert len(built) == len(given)
    for axis, sign in ((0, 1), (1, -1)):
        (low, at_low), (high, at_high) = (
            f((g[axis], p[axis]) for g, p in zip(given, built, strict=True)) for f in (min, max)
        )
        for g, p in zip(given, built, strict=True):
            expected = at_low + (g[axis] - low) / (high - low) * (at_high - at_low)
            assert p[axis] == pytest.approx(expected, abs=0.11)
        assert sign * (at_high - at_low) > 0.4 * (WIDTH, HEIGHT)[axis]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in built)


@pytest.mark.parametrize("curve", [[(3, 1.0)], [(0, 2.0), (5, 2.0)], [(0, 1.0), (5, math.inf), (9, math.nan)]])
def test_curves_of_one_point_one_value_or_with_gaps_can_be_drawn(curve: list[tuple[int, float]]) -> None:
    drawn = ElementTree.fromstring(chart("loss", {"run": curve}, ["red"]))
    points = drawn.find(".//polyline").get("points")  # type: ignore[union-attr]
    assert all(math.isfinite(float(number)) for pair in points.split() for number in pair.split(","))
