"""Notes: what an object lacks, or had to be changed in, although it was made.

Whoever reads a file says ``note("missing texture", "wood.png is missing")``. The note travels as a warning of the
logging module, so that what other libraries log about a mesh is heard too, and Python's callers see it without asking.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from tunemv3d_core.io.posed_images import PosedImages

Kind = Literal[
    "missing texture",
    "missing file",
    "unreadable texture",
    "texture scaled down",
    "untextured",
    "unsupported extension",
    "no normals",
    "no surface",
    "changed colours",
    "changed shape",
    "camera",
    "caption",
    "other",
]
"""What a note is about. ``report.json`` and the tables of the commands count by these words, so they stay as they are:

- missing texture, missing file: named by the object, not there (or outside the source).
- unreadable texture: damaged, or in a format that is not read; the material's colour is shown instead.
- texture scaled down: larger than what is kept.
- untextured: nothing but a default colour is known of the object or a part.
- unsupported extension: a part of a format that can be done without, and is.
- no normals: none in the file, or unusable ones; they are computed.
- no surface: points, lines and faces of fewer than three corners, which nothing is seen of.
- changed colours, changed shape: shown otherwise than its file asks, in colour or in form.
- camera, caption: of the pictures' cameras, of the words.
- other: whatever a library logged.
"""

HARMLESS = frozenset({"texture scaled down", "untextured", "no normals", "no surface", "caption", "other"})
"""Kinds after which the pictures still show what the file holds, as far as anybody knows."""

_CHANNEL = logging.getLogger("tunemv3d_data.notes")
_LONGEST = 300


@dataclass(frozen=True)
class Note:
    """A note on one object.

    Attributes:
        kind: one of ``Kind``'s words.
        text: one sentence that names what it is about, such as a file.
    """

    kind: str
    text: str

    def to_json(self) -> dict[str, str]:
        """Return the fields as JSON's types."""
        return asdict(self)


def note(kind: Kind, text: str) -> None:
    """Note something about the object at hand, for whoever collects notes (``collect``)."""
    _CHANNEL.warning("%s", text, extra={"kind": kind})


@contextmanager
def collect(only_ours: bool = False) -> Iterator[list[Note]]:
    """Collect the notes on an object while it is made, each once; the list fills as they come.

    Args:
        only_ours: leave out what other libraries log.
    """
    listener, logger = _Listener(), _CHANNEL if only_ours else logging.getLogger()
    logger.addHandler(listener)
    try:
        yield listener.heard
    finally:
        logger.removeHandler(listener)


def notes_of(extra: dict[str, Any]) -> tuple[Note, ...]:
    """Read the notes in an object's record; those of older datasets ("warnings") have no kind and are of "other"."""
    stored, older = (value if isinstance(value, list) else [] for value in (extra.get("notes"), extra.get("warnings")))
    kinds = get_args(Kind)
    pairs = [(entry.get("kind"), entry.get("text")) for entry in stored if isinstance(entry, dict)]
    return tuple(
        Note(str(kind) if kind in kinds else "other", _line(str(text)))
        for kind, text in (*pairs, *(("other", text) for text in older))
    )


def with_notes(record: PosedImages, notes: Sequence[Note]) -> PosedImages:
    """Return a record whose notes are these, each once; ``notes_of`` its ``extra`` reads them."""
    extra = {key: value for key, value in record.extra.items() if key not in ("notes", "warnings")}
    stored = [note.to_json() for note in dict.fromkeys(notes)]
    return replace(record, extra={**extra, "notes": stored} if stored else extra)


def refusal(notes: Sequence[Note]) -> str:
    """Return the reason why an object with notes is refused where notes are not allowed."""
    more = f", and {len(notes) - 1} more" if len(notes) > 1 else ""
    return f"{notes[0].kind}: {notes[0].text}{more}"


@dataclass
class Counted:
    """Count of one kind's notes.

    Attributes:
        objects: that have such notes.
        notes: how many they are.
        example: the first object with its first note.
    """

    objects: int = 0
    notes: int = 0
    example: str = ""


class NoteCounts:
    """Notes of a dataset by kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, Counted] = {}

    def add(self, id_: str, notes: Sequence[Note]) -> None:
        """Count an object's notes."""
        for kind, count in Counter(note.kind for note in notes).items():
            text = next(note.text for note in notes if note.kind == kind)
            counted = self._kinds.setdefault(kind, Counted(example=f"{id_}: {text}"))
            counted.objects += 1
            counted.notes += count

    @classmethod
    def of(cls, records: Iterable[PosedImages]) -> Self:
        """Count the notes in records; variants have those of their object and are left out."""
        counts = cls()
        for record in records:
            if record.extra.get("variant", 0) == 0:
                counts.add(record.id, notes_of(record.extra))
        return counts

    @classmethod
    def from_json(cls, content: dict[str, dict[str, Any]]) -> Self:
        """Read what ``to_json`` returned."""
        counts = cls()
        counts._kinds = {kind: Counted(**counted) for kind, counted in content.items()}
        return counts

    def __len__(self) -> int:
        return len(self._kinds)

    def items(self) -> list[tuple[str, Counted]]:
        """List kinds and counts, those of the most objects first."""
        return sorted(self._kinds.items(), key=lambda item: (-item[1].objects, item[0]))

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the counts as JSON's types, by kind."""
        return {kind: asdict(counted) for kind, counted in self.items()}


class _Listener(logging.Handler):
    """Turns what is logged as a warning into notes, each thing once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[Note] = []
        self._known: set[Note] = set()

    def emit(self, record: logging.LogRecord) -> None:
        kind = getattr(record, "kind", "other") if record.name == _CHANNEL.name else "other"
        heard = Note(kind, _line(record.getMessage()))
        if heard not in self._known:
            self._known.add(heard)
            self.heard.append(heard)


def _line(text: str) -> str:
    """The first line of a text, without what would change a terminal: names in it come from other people's files."""
    line = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text.split("\n")[0])
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
