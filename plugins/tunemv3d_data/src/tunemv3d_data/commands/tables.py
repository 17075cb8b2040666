"""The table of notes that ends a command which makes a dataset."""

from pathlib import Path
from typing import TYPE_CHECKING

from tunemv3d_core.console import console, print_table

if TYPE_CHECKING:
    from tunemv3d_data.notes import NoteCounts


def show_notes(notes: "NoteCounts", report: Path | None) -> None:
    """Print a row per kind of note, those of the most objects first; nothing where there are none.

    Args:
        notes: of a whole dataset.
        report: the file that lists them by object, None where there is none.
    """
    from rich.table import Table

    if not len(notes):
        return
    table = Table()
    for heading in ("note", "objects", "notes", "the first"):
        table.add_column(heading, justify="right" if heading in ("objects", "notes") else "left", overflow="fold")
    for kind, counted in notes.items():
        table.add_row(kind, str(counted.objects), str(counted.notes), counted.example)
    print_table(table)
    where = f"; all in {report}" if report else ""
    console.print(f"notes on objects, --strict leaves them out{where}", soft_wrap=True, highlight=False)
