"""``tunemv3d data caption``: captions by an image-captioning model for a dataset of ours."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.console import console, messages, print_json
from tunemv3d_core.errors import EXIT_FINDINGS


def caption(
    folder: Annotated[Path, typer.Argument(help="A dataset, as `tunemv3d data render` makes it.")],
    model: Annotated[str, typer.Option(help="A captioning model of transformers: a folder or a hub id.")],
    views: Annotated[int, typer.Option(min=1, help="Pictures per object.")] = 4,
    batch: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 8,
    device: Annotated[str, typer.Option(help="Where it computes, such as cpu or cuda:1.")] = "",
    replace: Annotated[bool, typer.Option("--replace", help="Drop the captions that objects have.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Caption objects from their pictures; the model's captions come first, the others stay behind them."""
    from tunemv3d_core.devices import find_device
    from tunemv3d_core.io.posed_images import read_manifest
    from tunemv3d_data.captions.model import Captioner, caption_dataset

    total = len(read_manifest(folder))
    captioner = Captioner(model, find_device(device))
    with Progress(console=messages) as progress:
        task = progress.add_task("objects", total=total)
        results = caption_dataset(folder, captioner, model, views, batch, replace, lambda: progress.advance(task))
    refused = [result for result in results if result.status == "refused"]
    if as_json:
        entries = [{"id": r.id, "status": r.status, "note": r.note} for r in results]
        print_json({"out": str(folder), "model": model, "results": entries})
    else:
        for result in refused:
            console.print(f"refused {result.id}: {result.note}", markup=False, highlight=False, soft_wrap=True)
        statuses = [result.status for result in results]
        counts = ", ".join(f"{statuses.count(status)} {status}" for status in ("captioned", "kept", "refused"))
        console.print(f"{folder}: {counts}", soft_wrap=True)
        say_next("tunemv3d", "data", "show", folder, "--open")
    if refused:
        raise typer.Exit(EXIT_FINDINGS)
