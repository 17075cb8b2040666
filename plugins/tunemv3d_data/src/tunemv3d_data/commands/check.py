"""``tunemv3d data check``: what would make training learn something wrong, and what to do about it."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.console import console, messages, print_json, print_table
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.commands.options import DatasetArgument, LayoutOption

if TYPE_CHECKING:
    from tunemv3d_data.doctor.findings import Finding


_STYLES = {"error": "red", "warning": "yellow", "note": "dim"}
"""Of findings, the worst first."""


class _Speed(TextColumn):
    """Objects per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


_COLUMNS = (
    TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed("rate"), TimeRemainingColumn(),
)  # fmt: skip


def check(
    dataset: DatasetArgument,
    out: Annotated[Path | None, typer.Option(help="Folder for pictures of what is found; NAME-check here.")] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(help="Model folder, asset or hub id whose tokenizer counts captions; else an estimate."),
    ] = None,
    layout: LayoutOption = "auto",
    opt_out: Annotated[
        Path | None, typer.Option("--opt-out", help="A file of ids, creators and addresses that should not be in it.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check a dataset: cameras, scale, alpha, pictures, duplicates, captions, licences, depth and normals."""
    from tunemv3d_core.io.opt_out import OptOut
    from tunemv3d_data.conversion.installed import opened_folder
    from tunemv3d_data.doctor.examine import Round, examine
    from tunemv3d_data.doctor.findings import Finding
    from tunemv3d_data.layouts import open_dataset

    with opened_folder(dataset) as opened:
        out = opened.beside(out, "check")
        source = open_dataset(opened.path, layout, undistort=True)
        listed = OptOut.read(opt_out) if opt_out is not None else OptOut()
        count = len(source.ids)
        with Progress(*_COLUMNS, console=messages) as progress:
            task = progress.add_task("objects", total=count)
            try:
                round_ = Round(source, out, text_encoder, listed)
                findings = examine(round_, min(workers, count), lambda: progress.advance(task))
            except OSError as error:
                raise DatasetError(f"{out}: the pictures cannot be written: {error}; use another --out") from None
    advice = "mend the dataset's reader, or take the object out of its splits"
    findings = [*(Finding("unreadable", id_, fault, advice) for id_, fault in opened.faults.items()), *findings]
    count += len(opened.faults)
    if as_json:
        counts = {"objects": count, "findings": len(findings)}
        print_json(
            {
                "dataset": opened.told,
                "layout": source.layout,
                **counts,
                "pictures": str(out),
                "found": [f.to_json() for f in findings],
            }
        )
    else:
        _show(findings, count, opened.told, out)
        say_next("tunemv3d", "data", "show", dataset, "--open")
    if any(finding.level != "note" for finding in findings):
        raise typer.Exit(EXIT_FINDINGS)


def _show(findings: Sequence["Finding"], count: int, told: str, out: Path) -> None:
    """Print a row per kind of finding, errors first."""
    from rich.table import Table

    if not findings:
        console.print(f"{told}: {count} objects, nothing found", soft_wrap=True)
        return
    kinds: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.level, finding.check, finding.advice].append(finding)
    table = Table(show_lines=True)
    for heading in ("level", "check", "objects", "what is wrong", "what to do"):
        # A check's name is what people look up: it stays in one piece.
        table.add_column(heading, overflow="fold", no_wrap=heading in ("level", "check"))
    for (level, name, advice), found in sorted(
        kinds.items(), key=lambda kind: (list(_STYLES).index(kind[0][0]), -len(kind[1]))
    ):
        table.add_row(level, name, _objects(found), found[0].text, advice, style=_STYLES[level])
    print_table(table)
    levels = Counter(finding.level for finding in findings)
    said = f"{levels['error']} errors, {levels['warning']} warnings, {levels['note']} notes; pictures in {out}"
    console.print(f"{told}: {count} objects, {said}", soft_wrap=True)


def _objects(found: Sequence["Finding"]) -> str:
    names = [finding.object or "all together" for finding in found]
    return "\n".join(names[:3]) + (f"\nand {len(names) - 3} more" if len(names) > 3 else "")
