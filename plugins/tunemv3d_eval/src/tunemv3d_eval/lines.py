"""Records in a file of JSON lines that survives kills and power cuts: every line is written when its work is done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.io.json_files import parse


class Lines:
    """Records by key, kept in a file that grows; the last record of a key counts.

    Args:
        path: the file; read if it is there. A last line that a kill has cut is removed, and any of whose bytes a
            power cut has left zeros.
        key: of a record, the name of one of its fields.
        added: another file that new records go to; read as well.

    Raises:
        TuneMV3DError: a whole line is no record.
    """

    def __init__(self, path: Path, key: str, added: Path | None = None) -> None:
        self._path, self._key = added or path, key
        self._records: dict[str, dict[str, Any]] = {}
        for file in (path, *([added] if added else ())):
            self._read(file)

    def _read(self, path: Path) -> None:
        content = path.read_bytes() if path.is_file() else b""
        # Bytes: a cut may go through a letter. Not splitlines, which takes letters inside a prompt for ends of lines.
        *whole, cut = content.split(b"\n")
        lines = [line for line in whole if b"\0" not in line]
        for number, line in enumerate(lines, start=1):
            try:
                record = parse(line, finite=False)
                self._records[record[self._key]] = record
            except (ValueError, KeyError, TypeError) as error:
                raise TuneMV3DError(f"{path}: line {number} is damaged: {error}; remove that line") from None
        if cut or len(lines) < len(whole):
            write_text(path, b"".join(line + b"\n" for line in lines).decode())

    def __contains__(self, key: str) -> bool:
        return key in self._records

    def __getitem__(self, key: str) -> dict[str, Any]:
        return self._records[key]

    def items(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Go through all records by key, in the order of the file."""
        yield from self._records.items()

    def get(self, key: str) -> dict[str, Any] | None:
        """Return the record of a key, if there is one."""
        return self._records.get(key)

    def add(self, key: str, record: dict[str, Any]) -> None:
        """Append a record."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(f"{json.dumps(record, ensure_ascii=False)}\n")
        self._records[key] = record
