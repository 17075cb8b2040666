"""``tunemv3d data pack``: a dataset folder in, WebDataset shards with an index out."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.commands.options import Strict
from tunemv3d_data.commands.tables import show_notes

if TYPE_CHECKING:
    from tunemv3d_data.shards.job import Packed, PackJob

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def pack(
    dataset: Annotated[
        str, typer.Argument(help="A dataset's folder, an installed one's name, or {\"type\": name, ...}.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the shards; an interrupted packing goes on where it was.")],
    shard_size: Annotated[str, typer.Option(help="About how large a shard becomes.")] = "256MB",
    objects: Annotated[int | None, typer.Option(min=1, help="Objects a shard, instead of --shard-size.")] = None,
    latents: Annotated[
        str, typer.Option(help="Pack latents too: a spec whose image encoder makes them, or a pipeline.")
    ] = "",
    strict: Strict = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Pack a dataset into WebDataset shards that training streams from disk or from an address."""
    size = parse_size(shard_size)
    # Heavy: torch, and the image encoder.
    from tunemv3d_data.conversion.installed import opened_folder
    from tunemv3d_data.shards.job import PackJob, run_pack

    with opened_folder(dataset) as opened:
        job = PackJob(opened.path, out, size, objects, latents, strict)
        with _progress() as progress:
            task = progress.add_task("objects", total=None)
            packed = run_pack(
                job,
                lambda total: progress.update(task, total=total),
                lambda count: progress.advance(task, count),
            )
        packed = replace(packed, left_out=opened.faults | packed.left_out)
        _show(packed, job, as_json)
    if packed.left_out:
        raise typer.Exit(EXIT_FINDINGS)


def parse_size(text: str) -> int:
    """Read the bytes of "256MB", "1.5 GiB" or "1000000".

    Raises:
        DatasetError: not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in UNITS or float(found[1]) == 0:
        raise DatasetError(f"--shard-size {text}: should be a size, such as 256MB or 1GiB")
    return round(float(found[1]) * UNITS[found[2].upper()])


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=messages)


def _show(packed: "Packed", job: "PackJob", as_json: bool) -> None:
    index, out, report = packed.index, job.out, job.folder / "report.json"
    total = sum(shard.bytes for shard in index.shards)
    if as_json:
        print_json(
            {
                "out": str(out),
                "objects": len(index),
                "shards": [shard.file for shard in index.shards],
                "kept": packed.kept,
                "bytes": total,
                "latent_key": None if index.latents is None else index.latents.key,
                "licences": packed.licences(),
                "notes": packed.notes.to_json(),
                "left_out": [{"id": id_, "reason": reason} for id_, reason in packed.left_out.items()],
            }
        )
        return
    show_notes(packed.notes, report if report.exists() else None)
    for id_, reason in packed.left_out.items():
        console.print(f"left out {id_}: {reason}", soft_wrap=True, highlight=False)
    held = "pictures" if index.latents is None else "pictures and latents"
    kept = f", {packed.kept} of them kept" if packed.kept else ""
    console.print(
        f"{out}: {len(index)} objects, {held}, in {len(index.shards)} shards{kept}, {total / 1e6:.1f} MB",
        soft_wrap=True,
        highlight=False,
    )
    say_next("tunemv3d-train", "chairs-mini", "--set", "data=" + json.dumps({"type": "shards", "path": str(out)}))
