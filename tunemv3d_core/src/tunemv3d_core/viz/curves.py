"""Metrics of a run over its steps: read from ``metrics.jsonl``, drawn as small line charts. Light: imports no torch."""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.json_files import MAX_LIST_BYTES, parse, read_plain

Curve = list[tuple[int, float]]
"""(step, value), steps rising."""

WIDTH, HEIGHT, MARGIN, GUTTER = 320, 140, 15, 58
"""Sizes of a chart in its own units: ``MARGIN`` is the height of a line of text, ``GUTTER`` the width of the numbers on
the right.
"""

_NO_CURVES = ("step", "seconds", "lr", "steps_per_s")


def read_curves(path: Path) -> dict[str, Curve]:
    """Read every metric of a run by its name; those logged per noise level (``.../t=50``) become their mean.

    The loss comes first, those of the fixed sample last. A last line that was cut by an interruption is skipped.

    Raises:
        TuneMV3DError: the file cannot be read, or another line of it is not a JSON object.
    """
    try:
        lines = read_plain(path, MAX_LIST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TuneMV3DError(f"{path}: cannot be read: {error}") from None
    curves: dict[str, Curve] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = parse(line, finite=False)
            step = int(record["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise TuneMV3DError(f"{path}: line {number} does not hold a step's metrics: {error}") from None
        for name, value in _metrics(record).items():
            curves.setdefault(name, []).append((step, value))
    order = sorted(curves, key=lambda name: (name.startswith(("held_out/", "trained_on/")), name != "loss"))
    return {name: sorted(curves[name]) for name in order}


def _metrics(record: dict[str, object]) -> dict[str, float]:
    """Return one line's metrics; those logged per noise level become their mean over levels."""
    levels: dict[str, list[float]] = {}
    whole = {name: float(v) for name, v in record.items() if isinstance(v, int | float) and name not in _NO_CURVES}
    for name in list(whole):
        if (base := re.sub(r"/t\b.*", "", name)) != name:
            levels.setdefault(base, []).append(whole.pop(name))
    return {name: sum(values) / len(values) for name, values in levels.items()} | whole


def chart(title: str, lines: Mapping[str, Curve], colours: Sequence[str]) -> str:
    """Draw one metric as inline SVG: one line per run, the ends of both axes in numbers.

    Args:
        title: name of the metric.
        lines: curves by the run's name; values that are not finite are skipped.
        colours: CSS colours, one per line.
    """
    lines = {name: [point for point in curve if math.isfinite(point[1])] for name, curve in lines.items()}
    points = [point for curve in lines.values() for point in curve]
    (left, right), (low, high) = _ends([p[0] for p in points]), _ends([p[1] for p in points])
    top, bottom = MARGIN * 1.5, HEIGHT - MARGIN * 1.5

    def place(step: float, value: float) -> str:
        across = (step - left) / ((right - left) or 1)
        up = (value - low) / ((high - low) or 1)
        return f"{4 + across * (WIDTH - GUTTER - 8):.1f},{bottom - up * (bottom - top):.1f}"

    body = [f'<path d="M0 {y}H{WIDTH - GUTTER}" stroke="currentColor" stroke-opacity=".18"/>' for y in (top, bottom)]
    body.append('<g fill="none" stroke-width="1.75" stroke-linejoin="round">')
    for (name, curve), colour in zip(lines.items(), colours, strict=True):
        if not curve:
            continue
        where = " ".join(place(*point) for point in curve)
        label = escape(f"{name}: {curve[0][1]:.4g} to {curve[-1][1]:.4g}")
        body.append(f'<g><title>{label}</title><polyline points="{where}" stroke="{colour}"/></g>')
        across, down = place(*curve[-1]).split(",")
        body.append(f'<circle cx="{across}" cy="{down}" r="2.5" fill="{colour}"/>')
    body.append("</g>")
    for x, y, anchor, text in (
        (0, MARGIN, "start", title),
        (WIDTH, top + 4, "end", f"{high:.3g}"),
        (WIDTH, bottom + 4, "end", f"{low:.3g}"),
        (0, HEIGHT - 6, "start", f"{left:,}"),
        (WIDTH - GUTTER, HEIGHT - 6, "end", f"step {right:,}"),
    ):
        body.append(f'<text x="{x}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-size="12" fill="currentColor"'
    return f'<svg class="chart" role="img" aria-label="{escape(title, quote=True)}" {size}>{"".join(body)}</svg>'


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values, default=0), max(values, default=0)
