"""The report of an evaluation as JSON: rows, means with intervals, paired differences, and what is missing and why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import isfinite
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.consistency import Consistency
from tunemv3d_core.slots import Figure
from tunemv3d_eval.scoring.chosen import ChosenMetric
from tunemv3d_eval.scoring.controls import useless
from tunemv3d_eval.scoring.scored import Scored
from tunemv3d_eval.statistics.bootstrap import Interval, interval, paired

FORMAT = "tunemv3d-evaluation/2"

Values = NDArray[np.float64]
Group = tuple[str, Consistency | None, str | None]
"""Rows that one mean is of: checkpoint, K, control."""


@dataclass(frozen=True)
class Row:
    """A row of the report.

    Attributes:
        values: what it says.
        failed: figures that are the worst value because something failed.
    """

    values: Mapping[str, Any]
    failed: frozenset[str]


class Table:
    """Figures of all rows as arrays of prompts and seeds.

    Args:
        rows: of the report.
        prompts: how many prompts there are: seeds count through all prompts, then on.
    """

    def __init__(self, rows: Iterable[Row], prompts: int) -> None:
        self._groups: dict[Group, list[Row]] = {}
        self._prompts = prompts
        for row in rows:
            of = row.values
            self._groups.setdefault((of["checkpoint"], of["consistency"], of["control"]), []).append(row)

    def groups(self) -> list[Group]:
        """Return the groups in the order of their rows."""
        return list(self._groups)

    def values(self, group: Group, figure: str) -> Values:
        """Return a figure of a group, ``p s``; NaN where it does not apply. Real objects have one seed each."""
        rows = [row.values for row in self._groups[group]]
        if group[2] == "real":
            places = [(at, 0) for at in range(len(rows))]
        else:
            places = [(row["seed"] % self._prompts, row["seed"] // self._prompts) for row in rows]
        array = np.full([1 + max(at) for at in zip(*places, strict=True)], np.nan)
        for place, row in zip(places, rows, strict=True):
            if row[figure] is not None:
                array[place] = row[figure]
        return array

    def mean(self, group: Group, figure: str) -> dict[str, Any]:
        """Return the mean of a figure over a group, with its 95 % interval, and how many objects it is of."""
        rows = self._groups[group]
        values = [value for row in rows if (value := row.values[figure]) is not None]
        estimate = interval(self.values(group, figure)) if values else Interval(None, None, None)
        return {
            **about(group),
            "figure": figure,
            "mean": fmean(values) if values else None,
            "low": estimate.low,
            "high": estimate.high,
            "n": len(values),
            "failed": sum(figure in row.failed for row in rows),
        }


def differences(table: Table, figures: Sequence[str]) -> list[dict[str, Any]]:
    """Compare checkpoints at equal K, and the K of one checkpoint, on equal prompts and noise."""
    found = []
    sampled = [group for group in table.groups() if group[2] is None]
    for a, b in combinations(sampled, 2):
        if (a[0] == b[0]) == (a[1] == b[1]):
            continue
        for figure in figures:
            one, other = table.values(a, figure), table.values(b, figure)
            if np.isfinite(one).any() and np.isfinite(other).any():
                pair = {"a": a[0], "b": b[0], "consistency_a": a[1], "consistency_b": b[1], "figure": figure}
                found.append(pair | vars(paired(one, other)))
    return found


def useless_figures(table: Table, figures: Mapping[str, Figure]) -> dict[str, str]:
    """Return why figures say nothing: their floor, measured on noise, reaches their ceiling, of real objects."""
    found: dict[str, list[str]] = {}
    groups = table.groups()
    labels = list(dict.fromkeys(group[0] for group in groups))
    for label in labels:
        real, noise = ([g for g in groups if (g[0], g[2]) == (label, control)] for control in ("real", "noise"))
        for name, figure in figures.items() if real and noise else ():
            ceiling, floor = (interval(table.values(of[0], name)) for of in (real, noise))
            if reason := useless(ceiling, floor, figure):
                found.setdefault(name, []).append(f"{label}: {reason}" if len(labels) > 1 else reason)
    return {name: "; ".join(reasons) for name, reasons in found.items()}


def about(group: Group) -> dict[str, Any]:
    """Return what a mean says of the rows that it is of."""
    return {"checkpoint": group[0], "consistency": group[1], "control": group[2]}


def build_report(
    header: Mapping[str, Any], scored: Sequence[Scored], metrics: Sequence[ChosenMetric], broken: set[str], prompts: int
) -> dict[str, Any]:
    """Build the report of an evaluation.

    Args:
        header: what it says before the figures.
        scored: the figures of each checkpoint.
        metrics: those that measured something, in order.
        broken: names of those that failed on every object; their figures are missing, not the worst.
        prompts: how many there are.
    """
    unknown = {figure for each in metrics if each.name in broken for figure in each.figures}
    rows = [
        Row({name: None if name in unknown else value for name, value in values.items()}, failed - unknown)
        for of_checkpoint in scored
        for values, failed in zip(of_checkpoint.rows, of_checkpoint.failed, strict=True)
    ]
    table = Table(rows, prompts)
    of_objects = {name: figure for each in metrics if each.of_objects for name, figure in each.figures.items()}
    of_sets = [
        {**about((one["checkpoint"], one["consistency"], one["control"])), "figure": name, "mean": value}
        | {"low": None, "high": None, "n": one["n"], "failed": 0}
        for of_checkpoint in scored
        for one in of_checkpoint.sets
        for name, value in one["figures"].items()
    ]
    return {
        **header,
        "figures": {
            name: {
                "summary": figure.summary,
                "higher_is_better": figure.higher_is_better,
                "low": figure.low if isfinite(figure.low) else None,
                "high": figure.high if isfinite(figure.high) else None,
                "metric": each.name,
            }
            for each in metrics
            for name, figure in each.figures.items()
        },
        "metrics": {each.name: each.description() for each in metrics},
        "rows": [row.values for row in rows],
        "means": [table.mean(group, name) for group in table.groups() for name in of_objects] + of_sets,
        "paired": differences(table, list(of_objects)),
        "useless": useless_figures(table, of_objects),
    }
