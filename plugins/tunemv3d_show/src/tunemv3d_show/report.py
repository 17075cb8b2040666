"""The command ``tunemv3d report``: runs and sampled objects as one HTML file."""

import os
from pathlib import Path
from typing import Annotated

import typer

from tunemv3d_core.cli.ending import OpenOption, say_next, show_result
from tunemv3d_core.console import console, print_json, show_error
from tunemv3d_core.errors import EXIT_FINDINGS, TuneMV3DError


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN|SAMPLES...", help="Run folders, or folders of sampled objects.")
    ],
    out: Annotated[Path, typer.Option(help="The HTML file; an older one is replaced.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Of the page; default: the folders' names.")] = "",
    compact: Annotated[
        bool, typer.Option("--compact", help="Smaller: lossy pictures, fewer frames, coarser meshes; the page says so.")
    ] = False,
    show: OpenOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Make one HTML file of runs and sampled objects, side by side for the same prompt and seed.

    It opens from disk in any browser, and nothing is fetched: views, shapes, loss curves and specs lie in it.
    """
    _check_writable(out)
    # Heavy: torch, by way of core's readers.
    from tunemv3d_show.compose import write_page
    from tunemv3d_show.gather import gather

    found = gather(folders)
    size = write_page(out, found, title or ", ".join(source.name for source in found.sources), compact)
    for fault in found.faults:
        show_error(TuneMV3DError(fault))
    if as_json:
        counts = {"objects": len(found.objects), "prompts": len(found.prompts()), "sources": len(found.sources)}
        means = {
            source.name: {key: round(value, 4) for key, (value, _) in found.means(index).items()}
            for index, source in enumerate(found.sources)
        }
        print_json({"out": str(out), "bytes": size, **counts, "means": means, "faults": found.faults})
    else:
        console.print(
            f"{out}  {len(found.objects)} {'object' if len(found.objects) == 1 else 'objects'}, {size / 1e6:.1f} MB",
            soft_wrap=True,
            highlight=False,
        )
    if show:
        show_result(out)
    if found.objects and not as_json:
        # Meshes are what a page may lack.
        bare = [each.folder for each in found.objects if "mesh" not in each.files]
        say_next("tunemv3d", *(("mesh", bare[0]) if bare else ("refine", found.objects[0].folder)))
    if found.faults:
        raise typer.Exit(EXIT_FINDINGS)


def _check_writable(out: Path) -> None:
    """Find out before the work whether the page can be kept."""
    folder = out.absolute().parent
    if out.is_dir():
        raise TuneMV3DError(f"--out {out}: is a folder; name a file, such as {out / 'report.html'}")
    if not folder.is_dir():
        raise TuneMV3DError(f"--out {out}: there is no folder {folder}; make it, or choose another file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TuneMV3DError(f"--out {out}: {folder} is not writable; choose another file")
