"""What was noted when an object was made: textures that were missing, formats of which a part was left out."""

from collections.abc import Iterator
from itertools import groupby

from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.views import ObjectViews
from tunemv3d_data.notes import HARMLESS, notes_of


def noted(views: ObjectViews) -> Iterator[Finding]:
    """An object shows what its file holds; a finding per kind of note."""
    notes = sorted(notes_of(views.record.extra), key=lambda note: note.kind)  # stable: their order within a kind stays
    for kind, of_kind in groupby(notes, key=lambda note: note.kind):
        texts = [note.text for note in of_kind]
        more = f", and {len(texts) - 1} more" if len(texts) > 1 else ""
        said = (kind.replace(" ", "-"), views.record.id, f"{kind}: {texts[0]}{more}")
        numbers = {"notes": float(len(texts))}
        if kind in HARMLESS:
            yield Finding(*said, "nothing, unless the pictures look wrong", numbers=numbers, level="note")
        else:
            advice = "mend the source, remove the object's folder and render it again, or leave it out by --strict"
            yield Finding(*said, advice, numbers=numbers, level="warning")
