"""A study's report for people: the same blocks as Markdown and as a page, from what ``study.json`` holds alone."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.viz.curves import Curve, chart

_STYLE = """
:root { color-scheme: light dark; background: light-dark(#fff, #16181b); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font: 500 2rem/1.2 Palatino, Georgia, serif; }
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); gap: 1.5rem; margin: 2rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
td { white-space: nowrap; }
.chart, img { max-width: 100%; }
figure { margin: 0 0 2rem; }
figcaption { color: light-dark(#65615a, #a5a19a); }
"""

SEEN = 0.05
"""Largest p of a difference that is marked."""


@dataclass(frozen=True)
class Heading:
    """A heading of level 2 or 3."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A picture beside the report."""

    path: str
    caption: str


Block = Heading | Text | Table | Picture


def write_report(out: Path, content: dict[str, Any]) -> None:
    """Write ``report.md``, ``report.html`` and ``curves.html`` (the charts alone, for other pages) into ``out``."""
    blocks, curves = list(_blocks(content)), curves_html(content)
    title = content["study"]["name"]
    write_text(out / "report.md", "\n\n".join([f"# {title}", *map(_markdown, blocks)]) + "\n")
    write_text(out / "curves.html", curves)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{escape(title)}</title><style>{_STYLE}</style></head>
<body><h1>{escape(title)}</h1>
{"".join(map(_html, blocks))}
{curves}
</body></html>
"""
    write_text(out / "report.html", page)


def _blocks(content: dict[str, Any]) -> Iterator[Block]:
    study = content["study"]
    if study["summary"]:
        yield Text(study["summary"])
    devices, sets = ", ".join(content["devices"]) or "no device yet", ", ".join(study["set"]) or "no override"
    yield Text(f"{content['date']}, {devices}. {study['steps']:,} training steps; every spec with {sets}.")
    yield Text(
        "Square brackets are 95 % intervals over prompts. They say nothing of other training seeds: round brackets "
        "have the difference of each seed by itself."
    )
    yield Table(
        ("variant", "what is different", "spec or checkpoint", "spec id"),
        [(name, each["summary"], each["source"], each["spec_id"][:12]) for name, each in content["variants"].items()],
    )
    plain = [name for name, each in content["variants"].items() if not each["has_field"]]
    if plain:
        yield Text(f"Without a field there is no K: {', '.join(plain)} stands beside the others at each of theirs.")
    for name, evaluation in content["evaluations"].items():
        yield from _evaluation(name, evaluation)
    if content["training"]:
        yield Heading("As the trainer measured")
        yield Text("Held-out objects after the last step, each variant with its own number of views.")
        figures = list(dict.fromkeys(name for row in content["training"] for name in row if "/" not in name))[2:]
        rows = [
            [row["variant"], str(row["seed"]), *(_number(row.get(name)) for name in figures)]
            for row in content["training"]
        ]
        yield Table(("variant", "seed", *map(_words, figures)), rows)
    if content["pictures"]:
        yield Heading("Samples")
        yield Text("The first prompts, the first seed of each; none was chosen.")
        yield from (Picture(each["path"], each["caption"]) for each in content["pictures"])
    yield Heading("What was not run")
    missing = [(name, reason) for name, reason in content["missing"].items()]
    yield Table(("job", "why"), missing) if missing else Text("Nothing: all jobs of the study are done.")
    if content["warnings"]:
        yield Heading("Warnings")
        yield from map(Text, content["warnings"])
    yield Heading("Time")
    yield Table(
        ("job", "seconds", "tries"),
        [(each["job"], f"{each['seconds']:.0f}", str(each["tries"])) for each in content["jobs"]],
    )


def _evaluation(name: str, evaluation: dict[str, Any]) -> Iterator[Block]:
    yield Heading(f"Evaluation {name}")
    yield Text(f"Protocol {evaluation['protocol']}.")
    figures = evaluation["figures"]
    if not evaluation["means"]:
        yield Text("No variant has been evaluated yet.")
        return
    keys = ("variant", "step", "consistency")
    heads = ("variant", "step", "K", "objects", *map(_heading, figures.items()))
    yield Table(heads, list(_rows(evaluation["means"], keys, figures, _with_interval, objects=True)))
    if evaluation["controls"]:
        yield Heading("Real objects and controls", 3)
        yield Text("Made of real views, of one view repeated, of views of several objects, and of noise.")
        keys = ("variant", "step", "control")
        yield Table(
            ("variant", "step", "what", *heads[4:]), list(_rows(evaluation["controls"], keys, figures, _with_interval))
        )
    yield from (Text(f"{_words(figure)} says nothing here: {why}.") for figure, why in evaluation["useless"].items())
    others = [row for row in evaluation["paired"] if row["variant_a"] != row["variant_b"]]
    strengths = [row for row in evaluation["paired"] if row["variant_a"] == row["variant_b"]]
    if others:
        yield from _differences(f"Differences from {others[0]['variant_a']}, at equal step and K", others, figures)
    if strengths:
        yield from _differences(f"Differences from K = {strengths[0]['consistency_a']}", strengths, figures)


def _differences(title: str, found: list[dict[str, Any]], figures: dict[str, Any]) -> Iterator[Block]:
    yield Heading(title, 3)
    yield Text("On the same prompts and noise. *: p < 0.05, for each figure by itself.")
    keys = ("variant_b", "step_b", "consistency_b")
    yield Table(
        ("variant", "step", "K", *map(_heading, figures.items())), list(_rows(found, keys, figures, _with_sign))
    )
    visible = {figure: _smallest(found, figure) for figure in figures}
    told = ", ".join(f"{_words(figure)} {size}" for figure, size in visible.items() if size)
    if told:
        yield Text(f"Smallest difference that would be seen, in the middle of the rows: {told}.")


def _rows(
    found: list[dict[str, Any]], keys: Sequence[str], figures: Any, told: Any, objects: bool = False
) -> Iterator[list[str]]:
    """A row of the table for each variant, step and K."""
    places: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for each in found:
        places.setdefault(tuple(str(each[key]) for key in keys), {})[each["figure"]] = each
    for place, cells in places.items():
        count = [str(max((each["n"] or 0 for each in cells.values()), default=0))] if objects else []
        yield [*place, *count, *(told(cells[figure]) if figure in cells else "-" for figure in figures)]


def _with_interval(found: dict[str, Any]) -> str:
    return f"{_number(found['mean'])}{_between(found)}"


def _with_sign(found: dict[str, Any]) -> str:
    star = "*" if found["p"] is not None and found["p"] < SEEN else ""
    by_seed = [value for value in found["seeds"].values() if value is not None]
    seeds = f" ({', '.join(f'{value:+.2g}' for value in by_seed)})" if len(by_seed) > 1 else ""
    return f"{found['difference']:+.3g}{star}{_between(found)}{seeds}"


def _between(found: dict[str, Any]) -> str:
    return "" if found["low"] is None else f" [{_number(found['low'])}, {_number(found['high'])}]"


def _smallest(found: list[dict[str, Any]], figure: str) -> str:
    sizes = sorted(each["smallest_visible"] for each in found if each["figure"] == figure and each["smallest_visible"])
    return f"{sizes[len(sizes) // 2]:.2g}" if sizes else ""


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3g}"


def _words(figure: str) -> str:
    return figure.replace("_", " ")


def _heading(figure: tuple[str, dict[str, Any]]) -> str:
    name, described = figure
    return _words(name) + ("" if described["higher_is_better"] else ", lower is better")


def curves_html(content: dict[str, Any]) -> str:
    """Draw every figure of the evaluations at several steps as a chart over the steps, with one legend."""
    names = list(content["variants"])
    colours = {name: f"hsl({round(360 * i / len(names))} 65% 45%)" for i, name in enumerate(names)}
    charts = []
    for evaluation in content["evaluations"].values():
        if len({row["step"] for row in evaluation["means"]}) < 2:
            continue
        lines: dict[tuple[str, str], dict[str, Curve]] = {}
        for row in evaluation["means"]:
            curve = lines.setdefault((row["figure"], row["consistency"]), {}).setdefault(row["variant"], [])
            curve.append((row["step"], row["mean"]))
        for (figure, k), curves in lines.items():
            charts.append(chart(f"{_words(figure)}, K = {k}", curves, [colours[name] for name in curves]))
    if not charts:
        return ""
    legend = " ".join(f'<span style="color:{colours[name]}">&#9632;</span> {escape(name)}' for name in names)
    return f'<p>{legend}</p>\n<section class="curves">{"".join(charts)}</section>\n'


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Table(heads, rows):
            lines = [heads, ["---"] * len(heads), *rows]
            return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        case Picture(path, caption):
            return f"![{caption}]({path})"


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>\n"
        case Text(text):
            return f"<p>{escape(text)}</p>\n"
        case Table(heads, rows):
            head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
            body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
            return f'<div class="wide" tabindex="0"><table><tr>{head}</tr>{body}</table></div>\n'
        case Picture(path, caption):
            words = escape(caption, quote=True)
            picture = f'<img src="{escape(path, quote=True)}" alt="{words}" loading="lazy">'
            return f"<figure>{picture}<figcaption>{words}</figcaption></figure>\n"
