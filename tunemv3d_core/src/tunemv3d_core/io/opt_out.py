"""Lists of works that nothing should be learned from: ids, creators and addresses, one a line."""

import re
from collections.abc import Iterable
from pathlib import Path

from tunemv3d_core.errors import DatasetError

_BETWEEN_NAMES = re.compile(r"\s*(?:[,;&/]|\band\b)\s*")
_VARIANT = re.compile(r"-v\d+$")
"""What the id of a recoloured copy ends in."""


class OptOut:
    """Works whose makers want nothing learned from them.

    An entry is an object's id, which covers its variants too; a creator, also one among several; a source as the
    dataset states it; or an address, which covers whatever lies below it. Case does not count.

    Args:
        entries: the list.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        by_key = {_key(entry): entry for entry in entries}
        self._entries = {key: entry for key, entry in by_key.items() if key}
        self._addresses = {
            entry: re.compile(re.escape(key.removesuffix("/")) + r"(?![\w-])")
            for key, entry in self._entries.items()
            if "://" in key
        }

    @classmethod
    def read(cls, path: Path) -> "OptOut":
        """Read a UTF-8 file; lines that begin with # and blank ones are none of the list.

        Raises:
            DatasetError: it cannot be read.
        """
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{path}: the opt-out list cannot be read: {error}") from None
        return cls(line.strip() for line in lines if not line.lstrip().startswith("#"))

    def entry_of(self, id_: str, creator: str, source: str) -> str:
        """Return the entry that covers an object; "" where none does."""
        texts = [id_, _VARIANT.sub("", id_), creator, *_BETWEEN_NAMES.split(creator), source]
        for text in texts:
            if found := self._entries.get(_key(text)):
                return found
        at = _key(source)
        return next((entry for entry, address in self._addresses.items() if address.search(at)), "")


def _key(text: str) -> str:
    return " ".join(text.split()).casefold()
