"""What a dataset's page says of all objects together: their notes and licences."""

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_data.licences import spdx
from tunemv3d_data.notes import NoteCounts, notes_of


def notes_section(records: Iterable[PosedImages], report: str) -> str:
    """Write notes by kind, those of the most objects first; "" where there are none.

    Args:
        records: of the objects shown.
        report: the file that lists them by object, "" where there is none.
    """
    counts = NoteCounts.of(records)
    if not len(counts):
        return ""
    rows = [(kind, str(each.objects), str(each.notes), each.example) for kind, each in counts.items()]
    where = f'<p class="soft">All are in {escape(report)}.</p>' if report else ""
    return f"<h2>Notes</h2>{table(('note', 'objects', 'notes', 'the first'), rows)}{where}"


def licences_section(records: Iterable[PosedImages]) -> str:
    """Write every licence once, with how many objects are under it; ``ATTRIBUTION.md`` says where it can be read."""
    counts = Counter(spdx(record.licence) for record in records if record.extra.get("variant", 0) == 0)
    rows = [(name or "not stated", str(count)) for name, count in counts.most_common()]
    return f"<h2>Licences</h2>{table(('licence', 'objects'), rows)}"


def notes_list(record: PosedImages) -> str:
    """Write one object's notes; "" where there are none."""
    items = "".join(f"<li>{escape(f'{note.kind}: {note.text}')}</li>" for note in notes_of(record.extra))
    return f"<h2>Notes</h2><ul>{items}</ul>" if items else ""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table of texts."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"
