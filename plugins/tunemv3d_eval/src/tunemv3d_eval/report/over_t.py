"""Plots over the noise level t, of figures that a metric gives at several of them."""

import re
from collections.abc import Mapping
from typing import Any

from tunemv3d_eval.report.plots import Point, plot

_AT_T = re.compile(r"(.+)_t(\d{3,})")
"""Names such as "chamfer_t050": a figure and a timestep."""


def plots_over_t(report: Mapping[str, Any]) -> dict[str, str]:
    """Return a plot for all figures of one name, by that name with "_over_t": a line per checkpoint and control.

    Args:
        report: as ``evaluate.json`` holds it.
    """
    lines: dict[str, dict[str, list[Point]]] = {}
    better: dict[str, bool] = {}
    for mean in report["means"]:
        if mean["mean"] is None or not (match := _AT_T.fullmatch(mean["figure"])):
            continue
        told = [mean["control"] or f"K = {mean['consistency']}"]
        told += [mean["checkpoint"]] if len(report["checkpoints"]) > 1 else []
        better[match[1]] = report["figures"][mean["figure"]]["higher_is_better"]
        point = Point(int(match[2]), mean["mean"], mean["low"], mean["high"])
        lines.setdefault(match[1], {}).setdefault(", ".join(told), []).append(point)
    return {
        f"{name}_over_t": plot(
            f"{name.replace('_', ' ')}{'' if better[name] else ' (lower is better)'}",
            {label: sorted(line, key=lambda point: point.x) for label, line in of_name.items()},
            {},
            "noise level t of the real views",
        )
        for name, of_name in lines.items()
    }
