"""Findings of the doctor."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """Fault of one object, or of the dataset.

    Attributes:
        check: the fault's name, such as "camera-convention".
        object: the object's id, "" where the dataset as a whole is meant.
        text: what is wrong, one sentence.
        advice: what to do.
        views: the views concerned.
        numbers: what was measured.
        others: further objects concerned, as with duplicates.
        level: an "error" makes training fail or learn something wrong; a "warning" is probably not intended;
            a "note" is known and harmless.
        picture: file that shows it, "" for none.
    """

    check: str
    object: str
    text: str
    advice: str
    views: tuple[int, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    level: Level = "error"
    picture: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON's types."""
        return asdict(self)
