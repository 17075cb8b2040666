"""Licences by their SPDX identifiers, and the page that credits every object of a dataset."""

import re
from collections.abc import Iterable, Iterator, Sequence

from tunemv3d_core.io.posed_images import PosedImages

SHAPENET = "ShapeNet terms of use (non-commercial)"
"""Research and education only: https://shapenet.org/terms."""

_CC = "https://creativecommons.org/"
_PARTS = (("by", r"\bby\b|attribution"), ("nc", r"\bnc\b|non.?commercial"), ("sa", r"\bsa\b|share.?alike"))
_NO_DERIVATIVES = r"\bnd\b|no.?deriv"
_OTHERS = (
    *("Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only"),
    *("GPL-3.0-or-later", "LGPL-2.1-or-later", "MIT", "ODbL-1.0", "Zlib"),
)


def spdx(text: str) -> str:
    """Return a licence's SPDX identifier where its words are known, else its own words, "" for none.

    Knows the short names of Objaverse ("by", "by-nc-sa", "cc0"; all of version 4.0, as its data card says), Sketchfab's
    ("CC Attribution-NonCommercial"), those of Sweet Home 3D's libraries, and the addresses of the licences.
    """
    text = " ".join(text.split())
    words = text.lower()
    if known := {name.lower(): name for name in _OTHERS}.get(words):
        return known
    if re.search(r"\bcc.?0\b|publicdomain/zero", words):
        return "CC0-1.0"
    if not re.search(r"^by\b|\bcc\b|creative ?commons", words) or not re.search(_PARTS[0][1], words):
        return text
    parts = [name for name, pattern in _PARTS if re.search(pattern, words)]
    parts += ["nd"] if re.search(_NO_DERIVATIVES, words) else []
    version = re.search(r"\b(\d\.\d)\b", words)
    port = "-US" if re.search(r"united states|/us\b|\bus$", words) else ""
    return f"CC-{'-'.join(parts)}-{version[1] if version else '4.0'}".upper() + port


def address(licence: str) -> str:
    """Return the address where a licence can be read; "" if that is not known."""
    if licence == SHAPENET:
        return "https://shapenet.org/terms"
    if licence == "CC0-1.0":
        return f"{_CC}publicdomain/zero/1.0/"
    if match := re.fullmatch(r"CC-([A-Z-]+)-(\d\.\d)(?:-([A-Z]{2}))?", licence):
        port = f"{match[3].lower()}/" if match[3] else ""
        return f"{_CC}licenses/{match[1].lower()}/{match[2]}/{port}"
    return f"https://spdx.org/licenses/{licence}.html" if licence in _OTHERS else ""


def asks_for_credit(licence: str) -> bool:
    """Return whether a licence requires that the creator is named: Creative Commons with BY, however it is written."""
    return spdx(licence.replace("_", "-")).startswith("CC-BY")


def matches(licence: str, wanted: Sequence[str]) -> bool:
    """Return whether a licence is one of those wanted: "cc-by" is CC-BY of any version, "cc-by-4.0" that version alone.

    Case does not matter. CC-BY-SA and CC-BY-NC are not CC-BY. An unknown licence is never wanted.
    """
    name = licence.lower()
    family = re.sub(r"-\d[\d.]*(-.*)?$", "", name)
    wishes = [want.strip().lower() for want in wanted]
    return any(want and (want in (name, family) or _is_port(name, want)) for want in wishes)


def _is_port(name: str, want: str) -> bool:
    return bool(re.search(r"\d$", want)) and name.startswith(want + "-")


def attribution(records: Iterable[PosedImages]) -> Iterator[str]:
    """Yield the lines of a Markdown page of all creators, licences and sources; variants stand with their object."""
    yield "# Attribution\n\n"
    yield "The pictures show the following objects, changed in size, frame, light and, for variants\n"
    yield "(`-v1`, `-v2`, …), in colour and proportions. They are under the licence of what they show; the\n"
    yield "licences' addresses stand below the table.\n\n"
    yield "| object | creator | licence | source |\n| --- | --- | --- | --- |\n"
    licences = set()
    for record in records:
        if record.extra.get("variant", 0) == 0:
            licences.add(record.licence)
            cells = (record.id, record.creator, record.licence or "not stated", record.source)
            yield "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |\n"
    yield "\n"
    for licence in sorted(licences - {""}):
        yield f"- {licence}: {address(licence) or 'as its source says'}\n"
