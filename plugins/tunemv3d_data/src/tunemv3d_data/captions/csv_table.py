"""Captions that others wrote, from a CSV of ids and captions such as Cap3D's (arXiv 2306.07279)."""

import csv
from pathlib import Path

from tunemv3d_core.errors import DatasetError


def read_captions(path: Path) -> dict[str, list[str]]:
    """Read captions by id from lines "id,caption", with or without that line as head; an id may have several.

    Raises:
        DatasetError: not readable, or a line that is not an id and a caption; names it.
    """
    found: dict[str, list[str]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), 1):
                cells = [cell.strip() for cell in row]
                if not any(cells) or (number == 1 and cells[:2] == ["id", "caption"]):
                    continue
                if len(cells) != 2 or not cells[0]:
                    raise DatasetError(f"{path}:{number}: expected 'id,caption' (a caption with commas in quotes)")
                if cells[1]:
                    found.setdefault(cells[0], []).append(cells[1])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot read captions: {error}") from None
    return found
