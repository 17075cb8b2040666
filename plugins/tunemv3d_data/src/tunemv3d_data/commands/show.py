"""``tunemv3d data show``: a dataset as pages that open from disk."""

from pathlib import Path
from typing import Annotated

import typer

from tunemv3d_core.cli.ending import OpenOption, say_next, show_result
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.commands.options import DatasetArgument, LayoutOption


def show(
    dataset: DatasetArgument,
    out: Annotated[Path | None, typer.Option(help="Folder for the pages; NAME-pages here.")] = None,
    objects: Annotated[str | None, typer.Option(help="Ids, separated by commas, or how many; all.")] = None,
    layout: LayoutOption = "auto",
    open_it: OpenOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a contact sheet and a page per object: views, captions, licence, and the cameras around it in 3D."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tunemv3d_data.conversion.installed import opened_folder
    from tunemv3d_data.layouts import open_dataset
    from tunemv3d_data.pages.write import write_pages

    with opened_folder(dataset) as opened:
        source = open_dataset(opened.path, layout, undistort=True)
        ids = _chosen(objects, list(source.ids))
        out = opened.beside(out, "pages")
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=messages) as progress:
            task = progress.add_task("objects", total=len(ids))
            shown = write_pages(source, ids, out, lambda: progress.advance(task))
    index, count, faults = out / "index.html", len(ids) - len(shown), opened.faults | shown
    if as_json:
        print_json({"index": str(index), "layout": source.layout, "objects": count, "faults": faults})
    else:
        for id_, fault in faults.items():
            console.print(f"left out {id_}: {fault}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"{index}: {count} objects", soft_wrap=True)
    if open_it:
        show_result(index)
    if not as_json:
        say_next("tunemv3d-train", "chairs-mini", "--set", opened.data, "--out", Path("runs") / opened.name)
    if faults:
        raise typer.Exit(EXIT_FINDINGS)


def _chosen(objects: str | None, ids: list[str]) -> list[str]:
    """Choose the named objects, or so many of them evenly from first to last."""
    if objects is None:
        return ids
    if objects.isdigit() and objects not in ids:
        count = min(int(objects), len(ids))
        if count == 0:
            raise DatasetError("--objects 0: show at least one")
        return [ids[place * len(ids) // count] for place in range(count)]
    wanted = [id_.strip() for id_ in objects.split(",") if id_.strip()]
    if missing := [id_ for id_ in wanted if id_ not in ids]:
        raise DatasetError(f"--objects: the dataset has no object {missing[0]!r}")
    return list(dict.fromkeys(wanted))
