"""``tunemv3d plugins list``: one row per entry point, with a note."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.table import Column, Table
from rich.text import Text

from tunemv3d_core.console import print_table
from tunemv3d_core.plugins.discovery import is_permitted
from tunemv3d_core.plugins.registry import registry

_SLOW = 1.0
"""Seconds of an import from which it is reported as slow."""


def rows_of(load: bool, seconds: float) -> list[dict[str, Any]]:
    """Return every entry point as a JSON object.

    Args:
        load: also import each and what it names, in another process, and validate packaged specs.
        seconds: time limit of one import.
    """
    installed = registry()
    records = installed.everything()
    claims = Counter((record.slot, record.name) for record in records)
    rows: list[dict[str, Any]] = []
    for record in records:
        row: dict[str, Any] = asdict(record)
        if claims[record.slot, record.name] > 1:
            same = [r.distribution for r in records if (r.slot, r.name) == (record.slot, record.name) and r != record]
            row |= {"duplicates": same, "reached_as": _reached_as(row)}
        if not is_permitted(record.distribution):
            row["forbidden"] = installed.objection(record)
        rows.append(row)
    if load:
        from tunemv3d_core.plugins.isolated_import import import_each

        permitted = [index for index, row in enumerate(rows) if "forbidden" not in row]
        results = import_each([records[i] for i in permitted], seconds, targets=True)
        for index, result in zip(permitted, results, strict=True):
            rows[index] |= asdict(result) | {"seconds": round(result.seconds, 3)}
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table."""
    names = ("slot", "name", "distribution", "version", "note")
    # Spaces in the cells: Rich's own padding costs a third of the rendering.
    table = Table(*(Column(f"{name}  ", overflow="fold") for name in names), box=None, header_style="bold", padding=0)
    for row in rows:
        cells = (row["slot"], row["name"], row["distribution"], row["version"], _note(row))
        table.add_row(*(Text(f"{cell}  ") for cell in cells))
    print_table(table)


def _reached_as(row: dict[str, Any]) -> str:
    full = f"{row['distribution']}:{row['name']}"
    names = registry().names(row["slot"])
    return full if full in names or row["name"] not in names else str(row["name"])


def _note(row: dict[str, Any]) -> str:
    if problem := row.get("forbidden") or row.get("problem"):
        return str(problem)
    notes = []
    if "duplicates" in row:
        notes.append(f"also in {', '.join(row['duplicates'])}; this one is '{row['reached_as']}'")
    if "problem" in row:
        notes.append(f"loads, slowly: {row['seconds']:.1f} s" if row["seconds"] >= _SLOW else "loads")
    if row.get("renamed_to"):
        notes.append(f"now called '{row['renamed_to']}'")
    if printed := " ".join(row.get("printed", "").split()):
        notes.append(f"prints {printed[:60]!r}")
    return "; ".join(notes)
