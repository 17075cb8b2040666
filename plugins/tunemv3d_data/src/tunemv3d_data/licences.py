"""Licences by their SPDX identifiers, and the page that credits every object of a dataset."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json, write_json_list
from tunemv3d_core.io.posed_images import PosedImages, read_manifest, read_object

SHAPENET = "ShapeNet terms of use (non-commercial)"
"""Research and education only: https://shapenet.org/terms."""

_CC = "https://creativecommons.org/"
_ADDRESS = re.compile(r"licenses/[a-z-]+/(\d\.\d)(?:/([a-z]{2,3}))?\b")
_PARTS = (("by", r"\bby\b|attribution"), ("nc", r"\bnc\b|non.?commercial"), ("sa", r"\bsa\b|share.?alike"))
_NO_DERIVATIVES = r"\bnd\b|no.?deriv"
_ZERO = r"\bcc.?0\b|publicdomain/zero|\bcreative ?commons zero\b|\bcc.zero\b"
_SOFTWARE = re.compile(
    r"(?:the |gnu )*(?:(?P<mit>mit)|(?P<apache>apache)|(?P<bsd>[23])-clause bsd|bsd (?P<bsd_>[23])-clause"
    r"|(?P<gpl>[al]?gpl))(?: licen[cs]e)?,?(?: version)? ?v?(?P<version>[\d.]+)?(?P<later> or later|\+)?"
    r"(?: licen[cs]e)?"
)
"""Software licences as people write them."""


def spdx(text: str) -> str:
    """Return a licence's SPDX identifier where its words are known, else its own words, "" for none.

    Knows all identifiers of SPDX, in any case, and expressions of them; the short names of Objaverse ("by", "by-nc-sa",
    "cc0"; all of version 4.0, as its data card says), Sketchfab's ("CC Attribution-NonCommercial"), those of Sweet Home
    3D's libraries, the addresses of the licences, and the usual names of software licences.
    """
    text = " ".join(text.split())
    words = text.lower()
    if known := _identifier(text) or _software(words):
        return known
    if re.search(_ZERO, words):
        return "CC0-1.0"
    if not re.search(r"^by\b|\bcc\b|creative ?commons", words) or not re.search(_PARTS[0][1], words):
        return text
    parts = [name for name, pattern in _PARTS if re.search(pattern, words)]
    parts += ["nd"] if re.search(_NO_DERIVATIVES, words) else []
    version = re.search(r"\b(\d\.\d)\b", words)
    name = f"CC-{'-'.join(parts)}-{version[1] if version else '4.0'}".upper()
    return _identifier(f"{name}-{_port(words)}") or name


def _identifier(text: str) -> str:
    """An identifier or expression of SPDX in its own case; "" if it is none."""
    try:
        return canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        return ""


def _software(words: str) -> str:
    match = _SOFTWARE.fullmatch(words)
    if match is None:
        return ""
    number = match["version"] or ""
    version = number if "." in number else f"{number}.0"
    if match["mit"]:
        return "MIT"
    if match["apache"]:
        return _identifier(f"Apache-{version if number else '2.0'}")
    if clauses := match["bsd"] or match["bsd_"]:
        return f"BSD-{clauses}-Clause"
    return _identifier(f"{match['gpl']}-{version}-{'or-later' if match['later'] else 'only'}")


def _port(words: str) -> str:
    """The country to whose law a Creative Commons licence was fitted: "US"; "" for none."""
    if "united states" in words:
        return "US"
    found = _ADDRESS.search(words)
    last = re.search(r"\d\.\d[ -]([a-z]{2,3})$", words)
    return str((found and found[2]) or (last and last[1]) or "").upper()


def address(licence: str) -> str:
    """Return the address where a licence can be read; "" if that is not known."""
    if licence == SHAPENET:
        return "https://shapenet.org/terms"
    if licence == "CC0-1.0":
        return f"{_CC}publicdomain/zero/1.0/"
    if match := re.fullmatch(r"CC-([A-Z-]+)-(\d\.\d)(?:-([A-Z]{2,3}))?", licence):
        port = f"{match[3].lower()}/" if match[3] else ""
        return f"{_CC}licenses/{match[1].lower()}/{match[2]}/{port}"
    is_one = " " not in licence and not licence.startswith("LicenseRef-") and _identifier(licence) == licence
    return f"https://spdx.org/licenses/{licence}.html" if is_one else ""


def asks_for_credit(licence: str) -> bool:
    """Return whether a licence requires that the creator is named: Creative Commons with BY, however it is written."""
    return spdx(licence.replace("_", "-")).startswith("CC-BY")


def matches(licence: str, wanted: Sequence[str]) -> bool:
    """Return whether a licence is one of those wanted: "cc-by" is CC-BY of any version, "CC BY 4.0" that version alone.

    Case does not matter. CC-BY-SA and CC-BY-NC are not CC-BY. An unknown licence is never wanted.
    """
    name = licence.lower()
    family = re.sub(r"-\d[\d.]*(-.*)?$", "", name)
    wishes = [(spdx(want) if re.search(r"\d", want) else want.strip()).lower() for want in wanted]
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
    licences = Counter[str]()
    for record in records:
        if record.extra.get("variant", 0) == 0:
            licence = spdx(record.licence)
            licences[licence] += 1
            cells = (record.id, record.creator, licence or "not stated", record.source)
            yield "| " + " | ".join(" ".join(cell.replace("|", "/").split()) for cell in cells) + " |\n"
    yield "\n"
    for licence, count in sorted(licences.items()):
        if licence:
            said = f"{count} object" if count == 1 else f"{count} objects"
            yield f"- {licence}, {said}: {address(licence) or 'as its source says'}\n"


def state(folder: Path, licence: str, creator: str) -> list[PosedImages]:
    """State licence and creator in the records, and the manifest, of a dataset's objects that state none.

    Args:
        folder: of a finished dataset of ours.
        licence: of objects without one; "" leaves them.
        creator: of objects that name nobody; "" leaves them.

    Returns:
        All records, as they are now.

    Raises:
        DatasetError: the dataset cannot be read, or not be written.
    """
    records = []
    for id_ in read_manifest(folder):
        path = folder / "objects" / id_ / "transforms.json"
        record = read_object(path.parent, check_cameras=False)
        stated = replace(record, licence=record.licence or spdx(licence), creator=record.creator or creator)
        if stated != record:
            content = {**read_json(path), "licence": stated.licence, "creator": stated.creator}
            frames = content.pop("frames")
            _write(path, content, "frames", frames)
        records.append(stated)
    manifest = read_json(folder / "dataset.json")
    named = {record.id: record.licence for record in records}
    entries = manifest.pop("objects")
    if licence and any(entry.get("licence", "") != named.get(entry["id"]) for entry in entries):
        _write(folder / "dataset.json", manifest, "objects", [{**e, "licence": named[e["id"]]} for e in entries])
    return records


def _write(path: Path, head: dict[str, Any], key: str, entries: list[Any]) -> None:
    try:
        write_json_list(path, head, key, entries)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be written: {error.strerror}") from None
