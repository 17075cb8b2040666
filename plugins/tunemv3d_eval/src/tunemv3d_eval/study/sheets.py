"""Uncurated samples of all variants side by side, a sheet for each of the first prompts, like Fig. 2."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors import safe_open

from tunemv3d_core.consistency import format_consistency
from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_eval.study.plan import Study
from tunemv3d_eval.study.results import Report

PROMPTS = 3
"""Prompts that get a sheet, the first of the protocol."""

TILE = 64
"""Size of a view, pixels."""

MARGIN, LINE, GAP = 230, 20, 8
"""Width of the column of labels, height of a line of text, and the space between steps, pixels."""

Views = NDArray[np.uint8]
"""Views of one object, ``n H W 3``."""


def write_sheets(study: Study, reports: Sequence[Report], out: Path) -> list[dict[str, str]]:
    """Write a sheet for each evaluation and each of its first prompts: a row for each variant and K, a column for each
    step; everywhere the first training seed's first sample.

    Returns:
        Path of each sheet within ``out``, and what it shows.
    """
    sheets = []
    for name in study.evaluations:
        own = [report for report in reports if name in report.job.evaluations]
        firsts = {report.job.variant: report for report in reversed(own)}
        shown = [firsts[variant] for variant in study.variants_of(study.evaluations[name]) if variant in firsts]
        for index, prompt in enumerate(_prompts(shown)[:PROMPTS]):
            path = f"sheets/{name}-{index:03d}.webp"
            rows = [row for report in shown if _has_samples(report) for row in _rows(report, prompt)]
            # Where samples were removed since, the sheet of before shows more.
            if rows and (all(map(_has_samples, shown)) or not (out / path).is_file()):
                models = ", ".join(f"{study.name}/{report.job.variant}" for report in shown)
                _write(out / path, rows, GeneratedBy(models, prompt=prompt))
            if (out / path).is_file():
                sheets.append({"path": path, "caption": f"{prompt} ({name})"})
    return sheets


def _prompts(shown: Sequence[Report]) -> list[str]:
    rows = shown[0].content["rows"] if shown else []
    return list(dict.fromkeys(row["prompt"] for row in rows if row["control"] is None))


def _has_samples(report: Report) -> bool:
    return (report.job.product.parent / "samples").is_dir()


def _rows(report: Report, prompt: str) -> Iterator[tuple[str, dict[int, Views]]]:
    """Label and views by step of each K, of the prompt's first sample."""
    folder, found = report.job.product.parent, dict[str, dict[int, Views]]()
    lines = (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    for record in sorted(map(json.loads, lines), key=lambda record: int(record["seed"])):
        if record["prompt"] == prompt and not record["error"]:
            steps = found.setdefault(format_consistency(record["consistency"]), {})
            steps.setdefault(report.step(record["checkpoint"]), _views(folder / record["file"]))
    for k, steps in found.items():
        yield f"{report.job.variant}, K = {k}", steps


def _views(file: Path) -> Views:
    with safe_open(file, "numpy") as stored:
        images: Views = stored.get_tensor("images")
    return images.transpose(0, 2, 3, 1)


def _write(path: Path, rows: list[tuple[str, dict[int, Views]]], by: GeneratedBy) -> None:
    steps = sorted({step for _, views in rows for step in views})
    width = max(len(views) for _, by_step in rows for views in by_step.values()) * TILE + GAP
    canvas = Image.new("RGB", (MARGIN + len(steps) * width, 2 * LINE + len(rows) * TILE), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((4, 4), by.prompt, fill="black")
    for column, step in enumerate(steps):
        draw.text((MARGIN + column * width, LINE + 4), f"step {step:,}", fill="black")
    for row, (label, by_step) in enumerate(rows):
        top = 2 * LINE + row * TILE
        draw.text((4, top + TILE // 2 - 6), label, fill="black")
        for step, views in by_step.items():
            canvas.paste(_strip(views), (MARGIN + steps.index(step) * width, top))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as beside:
        save_picture(canvas, beside, by.xmp, "WEBP", quality=60)


def _strip(views: Views) -> Image.Image:
    strip = Image.new("RGB", (len(views) * TILE, TILE), "white")
    for i, view in enumerate(views):
        strip.paste(Image.fromarray(view).resize((TILE, TILE), Image.Resampling.LANCZOS), (i * TILE, 0))
    return strip
