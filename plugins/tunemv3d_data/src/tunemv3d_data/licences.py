"""Licences by name: SPDX identifiers where they are known."""

from collections.abc import Iterable, Iterator, Sequence

from tunemv3d_core.posed_images import PosedImages


def matches(licence: str, wanted: Sequence[str]) -> bool:
    """Whether a licence is one of those wanted; case does not matter, nor versions unless they are given."""
    name = licence.lower()
    return any(name == want.lower() or name.rstrip("0123456789.-us") == want.lower() for want in wanted)


def attribution(records: Iterable[PosedImages]) -> Iterator[str]:
    """Creator, licence and source of every object as the lines of a Markdown page; variants stand with their object."""
    yield "# Attribution\n\n"
    yield "The pictures are renderings of the following 3D models, changed in size, light and, for variants\n"
    yield "(`-v1`, `-v2`, …), in colour and proportions. They are under the licence of their model.\n\n"
    yield "| object | creator | licence | source |\n| --- | --- | --- | --- |\n"
    for record in records:
        if record.extra.get("variant", 0) == 0:
            cells = (record.id, record.creator, record.licence or "not stated", record.source)
            yield "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |\n"
