"""``tunemv3d plugins release``: build distributions and check them as they would be published."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from tunemv3d_core.cli.options import JsonOption
from tunemv3d_core.console import console, messages, print_json, print_table
from tunemv3d_core.errors import EXIT_FINDINGS, ComponentError

if TYPE_CHECKING:
    from tunemv3d_release.make import Released


def release(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders of packages.  [default: this one]")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the wheels and sdists.")] = Path("dist"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Keep nothing, and let the changelog call the version unreleased.")
    ] = False,
    kit: Annotated[
        bool, typer.Option("--kit/--no-kit", help="Ask the wheels' components the conformance kit, by their tests.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Build wheels and sdists, and find what an index or a user would trip over. Uploads nothing.

    Exit code 1 if there is something to correct; nothing is kept then.
    """
    import shutil
    import tempfile

    from rich.progress import track

    from tunemv3d_release.build import read_project
    from tunemv3d_release.make import make_release

    projects = [read_project(folder) for folder in folders or [Path()]]
    if not dry_run and out.exists() and any(out.iterdir()):
        raise ComponentError(f"{out} holds files of another release; remove them, or name another folder with --out")

    with tempfile.TemporaryDirectory() as scratch:
        released = make_release(
            track(projects, "building", console=messages, transient=True), Path(scratch), dry_run, kit
        )
        _print_released(released, as_json)
        if any(each.errors for each in released):
            raise typer.Exit(EXIT_FINDINGS)
        if not dry_run:
            out.mkdir(parents=True, exist_ok=True)
            for file in Path(scratch).iterdir():
                shutil.copy2(file, out)
    if not dry_run and not as_json:
        console.print(f"to publish: twine upload {out / '*'}", highlight=False, soft_wrap=True)


def _print_released(released: "list[Released]", as_json: bool) -> None:
    sizes = [{file.name: file.stat().st_size for file in each.files} for each in released]
    if as_json:
        rows = zip(released, sizes, strict=True)
        print_json([{"name": r.name, "version": r.version, "files": s, "errors": list(r.errors)} for r, s in rows])
        return
    table = Table("distribution", "version", "files", Column("errors", overflow="fold"), box=None, header_style="bold")
    for each, size in zip(released, sizes, strict=True):
        files = ", ".join(f"{name.rpartition('.')[2]} {bytes_ / 1e6:.2f} MB" for name, bytes_ in size.items())
        table.add_row(each.name, each.version, files, "\n".join(each.errors) or "none")
    print_table(table)
