"""What a study found: every variant's figures with intervals, and their differences from the first one."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.consistency import format_consistency
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.viz.curves import read_curves
from tunemv3d_eval.statistics.bootstrap import interval, paired
from tunemv3d_eval.study.jobs import Job, run_folder
from tunemv3d_eval.study.plan import Study

EVALUATION = "tunemv3d-evaluation/2"
"""Format of the reports that are read."""

Place = tuple[str, int, str]
"""Variant, step and K: one column of a study's comparison."""

Cell = tuple[str, int, int]
"""Prompt, training seed, and number of the sample among the prompt's: objects with equal noise at every place."""


@dataclass(frozen=True)
class Report:
    """One ``evaluate.json`` and the job that made it."""

    job: Job
    content: dict[str, Any]

    def step(self, label: str) -> int:
        """Return the training step of a checkpoint by the label that its rows have."""
        labels = [each["label"] for each in self.content["checkpoints"]]
        return self.job.steps[labels.index(label)]


def read_reports(jobs: Iterable[Job]) -> tuple[list[Report], list[str]]:
    """Read the reports of all evaluations that are whole.

    Returns:
        The reports, and a sentence for each that cannot be used.
    """
    found, warnings = [], []
    for job in jobs:
        if not job.evaluations or not job.product.is_file():
            continue
        try:
            content = read_json(job.product)
        except TuneMV3DError as error:
            warnings.append(str(error))
            continue
        if content.get("format") != EVALUATION or len(content["checkpoints"]) != len(job.steps):
            warnings.append(
                f"{job.product}: is no '{EVALUATION}' of {len(job.steps)} checkpoints; remove its folder and go on"
            )
            continue
        found.append(Report(job, content))
        warnings += [f"{job.name}: {text}" for text in _remarks(content)]
    return found, warnings


def _remarks(content: dict[str, Any]) -> Iterator[str]:
    """What an evaluation says of figures that are missing or failed."""
    yield from content["warnings"]
    for metric, reason in content["skipped"].items():
        yield f"'{metric}' was left out: {reason}"
    for metric, entries in content["failed"].items():
        yield f"'{metric}' failed {len(entries)} times, first at {entries[0]['where']}: {entries[0]['error']}"


def compared(study: Study, specs: dict[str, RunSpec], name: str, reports: list[Report]) -> dict[str, Any]:
    """Compare the variants in one evaluation.

    A model without a field has no K: it stands beside the others at every K.

    Returns:
        ``figures`` (what each means), ``means`` (by variant, step and K), ``paired`` (against the first variant at
        equal step and K, and against the first K), ``controls`` (real objects and what samples were made into),
        ``useless`` (figures that tell no real object from noise, and why), ``warnings``.
    """
    figures: dict[str, Any] = {}
    for report in reports:
        figures |= report.content["figures"]
    found, warnings = _values(reports, figures)
    strengths = list(dict.fromkeys(k for (variant, _, k) in found if specs[variant].model.field is not None))

    def stands_at(place: Place) -> list[Place]:
        alone = specs[place[0]].model.field is None and strengths
        return [(*place[:2], k) for k in strengths] if alone else [place]

    values = {place: cells for own, cells in found.items() for place in stands_at(own)}
    order = {variant: i for i, variant in enumerate(study.variants_of(study.evaluations[name]))}
    places = sorted(values, key=lambda place: (order[place[0]], place[1]))
    means = [row for place in places for row in _means(place, values[place], figures)]
    of_objects = {row["figure"] for row in means}
    for own, figure, seeds in _of_sets(reports):
        if figure not in of_objects:
            means += [_set_mean(place, figure, seeds) for place in stands_at(own)]
    pairs = [
        row
        for a, b in _pairs(places, next(iter(order)))
        if values[a] is not values[b]
        for row in _paired(a, b, values, figures)
    ]
    return {
        "figures": figures,
        "means": means,
        "paired": pairs,
        "controls": [row for report in reports for row in _controls(report)],
        "useless": {figure: reason for report in reports for figure, reason in report.content["useless"].items()},
        "warnings": warnings,
    }


def _values(
    reports: list[Report], figures: dict[str, Any]
) -> tuple[dict[Place, dict[Cell, dict[str, float]]], list[str]]:
    """Every object's figures by place and cell."""
    values: dict[Place, dict[Cell, dict[str, float]]] = defaultdict(dict)
    warnings, bases = [], dict[str, str]()
    for report in reports:
        for checkpoint in report.content["checkpoints"]:
            bases[report.job.variant] = str(checkpoint.get("base"))
        counts: dict[tuple[Place, str], int] = defaultdict(int)
        rows = [row for row in report.content["rows"] if row["control"] is None]
        for row in sorted(rows, key=lambda row: row["seed"]):
            place = (report.job.variant, report.step(row["checkpoint"]), format_consistency(row["consistency"]))
            number = counts[place, row["prompt"]]
            counts[place, row["prompt"]] += 1
            cell = (row["prompt"], report.job.seed, number)
            # An object that failed has the worst value already.
            values[place][cell] = {figure: math.nan if row.get(figure) is None else row[figure] for figure in figures}
    warnings += list(_unlike_metrics(reports))
    first = next(iter(bases.values()), "")
    for variant, base in bases.items():
        if base != first:
            warnings.append(f"'{variant}' was evaluated on another base than the first variant: {base}, not {first}")
    return values, warnings


def _unlike_metrics(reports: list[Report]) -> Iterator[str]:
    """Metrics that were of another version, had other options or asked other models in some evaluations."""
    first: dict[str, tuple[str, Any]] = {}
    for report in reports:
        for metric, described in report.content["metrics"].items():
            name, expected = first.setdefault(metric, (report.job.name, described))
            if described != expected:
                yield (
                    f"'{metric}' had another version, other options or another model in '{report.job.name}' than in "
                    f"'{name}': their figures do not compare"
                )


def _means(place: Place, cells: dict[Cell, dict[str, float]], figures: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for figure in figures:
        table, seeds = _table(cells, figure)
        found = interval(table)
        if found.mean is None:
            continue
        by_seed = {seed: _mean(table[:, columns]) for seed, columns in seeds.items()}
        yield {
            **dict(zip(_KEYS, place, strict=True)),
            "figure": figure,
            **_rounded(asdict(found)),
            "n": int(np.isfinite(table).sum()),
            "seeds": _rounded({str(seed): mean for seed, mean in by_seed.items()}),
        }


def _of_sets(reports: list[Report]) -> Iterator[tuple[Place, str, dict[str, float]]]:
    """Means as the evaluations give them, by training seed; those of figures of a whole set stand nowhere else."""
    found: dict[tuple[Place, str], dict[str, float]] = defaultdict(dict)
    for report in reports:
        for row in report.content["means"]:
            if row["control"] is None and row["mean"] is not None:
                place = (report.job.variant, report.step(row["checkpoint"]), format_consistency(row["consistency"]))
                found[place, row["figure"]][str(report.job.seed)] = row["mean"]
    return ((place, figure, seeds) for (place, figure), seeds in found.items())


def _set_mean(place: Place, figure: str, seeds: dict[str, float]) -> dict[str, Any]:
    mean = _rounded({"mean": sum(seeds.values()) / len(seeds), "low": None, "high": None})
    return {**dict(zip(_KEYS, place, strict=True)), "figure": figure, **mean, "n": None, "seeds": _rounded({**seeds})}


def _controls(report: Report) -> Iterator[dict[str, Any]]:
    for row in report.content["means"]:
        if row["control"] is not None and row["mean"] is not None:
            step = report.step(row["checkpoint"])
            yield {**row, "variant": report.job.variant, "step": step, "seed": report.job.seed}


def _pairs(places: list[Place], first: str) -> Iterator[tuple[Place, Place]]:
    """The first variant beside every other at equal step and K, and each variant's first K beside its others."""
    for variant, step, k in places:
        if variant != first and (first, step, k) in places:
            yield (first, step, k), (variant, step, k)
    for place in places:
        own = [other for other in places if other[:2] == place[:2]]
        if place != own[0]:
            yield own[0], place


def _paired(a: Place, b: Place, values: dict[Place, Any], figures: dict[str, Any]) -> Iterator[dict[str, Any]]:
    shared = values[a].keys() & values[b].keys()
    for figure in figures:
        one, seeds = _table({cell: values[a][cell] for cell in shared}, figure)
        other, _ = _table({cell: values[b][cell] for cell in shared}, figure)
        found = paired(one, other)
        if found.difference is None:
            continue
        by_seed = {seed: _mean((other - one)[:, columns]) for seed, columns in seeds.items()}
        yield {
            **{
                f"{key}_{side}": value
                for side, place in (("a", a), ("b", b))
                for key, value in zip(_KEYS, place, strict=True)
            },
            "figure": figure,
            **_rounded(asdict(found)),
            "seeds": _rounded({str(seed): mean for seed, mean in by_seed.items()}),
        }


_KEYS = ("variant", "step", "consistency")


def _table(cells: dict[Cell, dict[str, float]], figure: str) -> tuple[NDArray[np.float64], dict[int, list[int]]]:
    """One figure as ``p s``, NaN where there is none, and the columns of each training seed."""
    prompts = sorted({prompt for prompt, _, _ in cells})
    columns = sorted({(seed, number) for _, seed, number in cells})
    table = np.full((len(prompts), len(columns)), np.nan)
    row, column = ({key: i for i, key in enumerate(keys)} for keys in (prompts, columns))
    for (prompt, seed, number), found in cells.items():
        table[row[prompt], column[seed, number]] = found.get(figure, math.nan)  # type: ignore[index]
    seeds: dict[int, list[int]] = defaultdict(list)
    for i, (seed, _) in enumerate(columns):
        seeds[seed].append(i)
    return table, dict(seeds)


def _mean(table: NDArray[np.float64]) -> float | None:
    return None if np.isnan(table).all() else float(np.nanmean(table))


def _rounded(found: dict[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else float(f"{value:.6g}") for name, value in found.items()}


def training_figures(study: Study, out: Path) -> list[dict[str, Any]]:
    """Read the last held-out figures of every run, as the trainer measured them, and how long it took."""
    seeds = dict.fromkeys(seed for evaluation in study.evaluations.values() for seed in evaluation.seeds)
    rows = []
    for variant, chosen in study.variants.items():
        for seed in seeds if chosen.spec else ():
            log = run_folder(out, variant, seed) / "metrics.jsonl"
            if log.is_file():
                curves = {name: curve for name, curve in read_curves(log).items() if name.startswith("held_out/")}
                last = {name.removeprefix("held_out/"): _at(curve, study.steps) for name, curve in curves.items()}
                rows.append({"variant": variant, "seed": seed, **_rounded(last)})
    return rows


def _at(curve: list[tuple[int, float]], step: int) -> float | None:
    return dict(curve).get(step)
