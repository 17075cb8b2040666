"""The report as tables: for people at a terminal, and in Markdown beside the JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from tunemv3d_core.consistency import format_consistency

CONTROLS = ("real", "repeated", "shuffled", "noise")


@dataclass(frozen=True)
class Grid:
    """A table of words.

    Attributes:
        title: above it.
        head: of its columns.
        rows: as many words each.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def as_rich(self) -> Table:
        """Return it for a terminal."""
        table = Table(title=self.title, title_justify="left")
        for number, word in enumerate(self.head):
            table.add_column(word, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(word.replace(" (", "\n(") for word in row))
        return table

    def as_markdown(self) -> str:
        """Return it for a text file."""
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        body = "\n".join("| " + " | ".join(word.replace("|", "\\|") for word in line) + " |" for line in lines)
        return f"## {self.title}\n\n{body}\n"


def grids(report: Mapping[str, Any]) -> list[Grid]:
    """Return a table of figures for each checkpoint, and one of the differences between them.

    Args:
        report: as ``evaluate.json`` holds it.
    """
    found = [_of_checkpoint(report, each["label"]) for each in report["checkpoints"]]
    several = len(report["checkpoints"]) > 1
    head = ["figure", "from", "to", "difference", "95 %", "p", "smallest visible"]
    for title, same in (("checkpoints", False), ("strengths K", True)):
        rows = [_difference(each, several) for each in report["paired"] if (each["a"] == each["b"]) == same]
        if rows:
            found.append(Grid(f"Differences between {title}, on equal prompts and noise", head, rows))
    return found


def _of_checkpoint(report: Mapping[str, Any], label: str) -> Grid:
    means = [mean for mean in report["means"] if mean["checkpoint"] == label]
    columns = sorted({_column(mean) for mean in means}, key=lambda column: column[0])
    cells = {(mean["figure"], _column(mean)): mean for mean in means}
    rows = []
    for name, figure in report["figures"].items():
        values = [_told(cells.get((name, column))) for column in columns]
        if any(value != "-" for value in values):
            mark = "" if figure["higher_is_better"] else ", lower is better"
            useless = ", useless here" if name in report["useless"] else ""
            rows.append([f"{name.replace('_', ' ')}{mark}{useless}", *values])
    objects = len({row["seed"] for row in report["rows"] if row["checkpoint"] == label and row["control"] is None})
    protocol = report["protocol"]
    changed = f", changed: {', '.join(report['overridden'])}" if report["overridden"] else ""
    title = f"{label}: {objects} samples at each K, protocol {protocol['name']} {protocol['version']}{changed}"
    return Grid(title, ["figure", *(column[1] for column in columns)], rows)


def _column(mean: Mapping[str, Any]) -> tuple[tuple[int, float], str]:
    """Place and heading of the column that a mean stands in: samples by K, then what they are compared with."""
    k, control = mean["consistency"], mean["control"]
    if control is None:
        return (0, float(k[0] if isinstance(k, list | tuple) else k)), f"K = {format_consistency(k)}"
    return (1 + CONTROLS.index(control), 0.0), control


def _told(mean: Mapping[str, Any] | None) -> str:
    if mean is None or mean["mean"] is None:
        return "-"
    interval = "" if mean["low"] is None else f" ({number(mean['low'])} to {number(mean['high'])})"
    failed = f", {mean['failed']} failed" if mean["failed"] else ""
    return f"{number(mean['mean'])}{interval}{failed}"


def _difference(pair: Mapping[str, Any], several: bool) -> list[str]:
    ends = []
    for end in ("a", "b"):
        label = f"{pair[end]}, " if several else ""
        ends.append(f"{label}K = {format_consistency(pair[f'consistency_{end}'])}")
    interval = "-" if pair["low"] is None else f"{number(pair['low'])} to {number(pair['high'])}"
    words = [number(pair["difference"]), interval, *(number(pair[name]) for name in ("p", "smallest_visible"))]
    return [pair["figure"].replace("_", " "), *ends, *words]


def number(value: float | None) -> str:
    """Write a value as tables show it."""
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown: the tables, what figures say, and what is missing and why."""
    parts = [
        f"# {report['protocol']['name']}: {report['protocol']['summary']}\n",
        *(g.as_markdown() for g in grids(report)),
    ]
    figures = report["figures"].items()
    parts.append("## Figures\n\n" + _listed(f"{name}: {figure['summary']}" for name, figure in figures))
    for title, lines in missing(report).items():
        parts.append(f"## {title}\n\n" + _listed(lines))
    parts.append(f"{report['date']}, {report['device']}, {report['dtype']}, {report['seconds']:g} s.\n")
    return "\n".join(parts)


def missing(report: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what a reader has to know beside the figures, by title; none that is empty."""
    found = {
        "Useless here": [f"{name}: {reason}" for name, reason in report["useless"].items()],
        "What failed": [
            f"{name}: {each['where']}: {each['error']}" for name, all_ in report["failed"].items() for each in all_
        ],
        "Left out": [f"{name}: {reason}" for name, reason in report["skipped"].items()],
        "Warnings": list(report["warnings"]),
    }
    return {title: lines for title, lines in found.items() if lines}


def _listed(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
