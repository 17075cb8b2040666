"""Line plots with bands of intervals, as SVG that stands alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isfinite
from typing import Any

from tunemv3d_core.consistency import check_consistency, format_consistency

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 480, 300, 54, 130, 40, 42
"""Of a plot and its margins, pixels; names of lines stand in the right one."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's palette, which most colour-blind people can tell apart."""

CONTROL_COLOUR = "#777777"


@dataclass(frozen=True)
class Point:
    """A value with its interval.

    Attributes:
        x: where.
        mean: the value.
        low: of its interval; None without one.
        high: likewise.
    """

    x: float
    mean: float
    low: float | None = None
    high: float | None = None


def plot(
    title: str,
    lines: Mapping[str, Sequence[Point]],
    levels: Mapping[str, float],
    x_title: str,
    ticks: Mapping[float, str] | None = None,
) -> str:
    """Draw lines, the bands of their intervals, and levels that hold at every x.

    Args:
        title: above the plot.
        lines: points by the line's name, in rising order of x; one point is a dot with a bar.
        levels: values by name, drawn as dashed lines.
        x_title: below the plot.
        ticks: labels by x; default: those of all points.

    Returns:
        The SVG.
    """
    points = [point for line in lines.values() for point in line]
    if ticks is None:
        ticks = {point.x: f"{point.x:g}" for point in points}
    scale = _Scale([*ticks, *(p.x for p in points)], [v for p in points for v in _heights(p)] + list(levels.values()))
    body = [_text(LEFT, 22, title, 14), _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, anchor="middle")]
    for value in scale.marks():
        y = scale.y(value)
        body.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        body.append(_text(LEFT - 6, y + 4, f"{value:.3g}", anchor="end"))
    body += [_text(scale.x(x), HEIGHT - BOTTOM + 16, label, anchor="middle") for x, label in ticks.items()]
    labels: list[tuple[float, str, str]] = []
    for name, value in levels.items():
        y = scale.y(value)
        body.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{CONTROL_COLOUR}" stroke-dasharray="5 4"/>')
        labels.append((y, name, CONTROL_COLOUR))
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        body += _line(line, scale, colour)
        if line:
            labels.append((scale.y(line[-1].mean), name, colour))
    body += [_text(WIDTH - RIGHT + 8, y + 4, name, colour=colour) for y, name, colour in _apart(labels)]
    style = 'font-family="sans-serif" font-size="11"'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{ground}{"".join(body)}</svg>\n'


class _Scale:
    """From values to pixels."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self._left, self._right = min(xs, default=0), max(xs, default=1)
        low, high = min(ys, default=0), max(ys, default=1)
        room = (high - low) * 0.05 or abs(high) * 0.05 or 0.05
        self._low, self._high = low - room, high + room

    def x(self, value: float) -> float:
        """Pixels from the left; what has one place alone stands in the middle."""
        share = (value - self._left) / (self._right - self._left) if self._right > self._left else 0.5
        return LEFT + 12 + share * (WIDTH - RIGHT - LEFT - 24)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        share = (value - self._low) / (self._high - self._low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def marks(self) -> list[float]:
        """Five values over the height."""
        return [self._low + (self._high - self._low) * i / 4 for i in range(5)]


def _heights(point: Point) -> list[float]:
    return [value for value in (point.mean, point.low, point.high) if value is not None and isfinite(value)]


def _line(line: Sequence[Point], scale: _Scale, colour: str) -> list[str]:
    """A line over its band; the band ends where an interval is missing."""
    found = []
    known = [point for point in line if point.low is not None and point.high is not None]
    if len(known) == 1:
        (one,) = known
        x, low, high = scale.x(one.x), scale.y(one.low or 0.0), scale.y(one.high or 0.0)
        found.append(
            f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" stroke-opacity="0.5" stroke-width="3"/>'
        )
    elif known:
        edge = [(point.x, point.high or 0.0) for point in known] + [
            (point.x, point.low or 0.0) for point in known[::-1]
        ]
        corners = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in edge)
        found.append(f'<polygon points="{corners}" fill="{colour}" fill-opacity="0.18"/>')
    places = [(scale.x(point.x), scale.y(point.mean)) for point in line]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    found.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return found + [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]


def _apart(labels: Sequence[tuple[float, str, str]], height: float = 13.0) -> list[tuple[float, str, str]]:
    """Move labels down until none covers another, and all up again where they leave the plot."""
    found: list[tuple[float, str, str]] = []
    for y, name, colour in sorted(labels):
        found.append((max(y, found[-1][0] + height) if found else y, name, colour))
    over = max(0.0, found[-1][0] - (HEIGHT - BOTTOM)) if found else 0.0
    return [(y - over, name, colour) for y, name, colour in found]


def _text(x: float, y: float, text: str, size: int = 11, anchor: str = "start", colour: str = "#222222") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
    return f"<text {place}>{escape(text)}</text>"


def figure_plots(report: Mapping[str, Any]) -> dict[str, str]:
    """Return a plot of each figure against K, by the figure's name: a line per checkpoint, controls as levels.

    A schedule of K stands at its mean. Figures that are known at no K have none.

    Args:
        report: as ``evaluate.json`` holds it.
    """
    found = {}
    several = len(report["checkpoints"]) > 1
    for name, figure in report["figures"].items():
        lines: dict[str, list[Point]] = {}
        levels: dict[str, float] = {}
        ticks: dict[float, str] = {}
        for mean in report["means"]:
            if mean["figure"] != name or mean["mean"] is None:
                continue
            if mean["control"] is None:
                values = check_consistency(mean["consistency"])
                x = sum(values) / len(values)
                ticks[x] = format_consistency(mean["consistency"])
                lines.setdefault(mean["checkpoint"], []).append(Point(x, mean["mean"], mean["low"], mean["high"]))
            else:
                level = f"{mean['control']}, {mean['checkpoint']}" if several else mean["control"]
                levels[level] = mean["mean"]
        if lines:
            ordered = {label: sorted(line, key=lambda point: point.x) for label, line in lines.items()}
            better = "" if figure["higher_is_better"] else " (lower is better)"
            found[name] = plot(f"{name.replace('_', ' ')}{better}", ordered, levels, "K", ticks)
    return found
