"""Choose objects of a collection: by licence, or by a file of ids."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_data.licences import matches, spdx
from tunemv3d_data.objects import SourceObject


def by_licence(objects: Sequence[SourceObject], text: str) -> tuple[list[SourceObject], Counter[str]]:
    """Choose the objects under one of the licences in ``text`` ("cc0,cc-by"), and count those left out by licence.

    Objects whose licence is not known are left out, counted under "".

    Raises:
        DatasetError: there is none.
    """
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    kept = [entry for entry in objects if matches(entry.licence, wanted)]
    left_out = Counter(entry.licence for entry in objects if not matches(entry.licence, wanted))
    if not kept:
        there = ", ".join(f"{licence or 'not stated'} ({count})" for licence, count in left_out.most_common(6))
        raise DatasetError(
            f"--licence {text}: no object of the source fits; it has {there}; to state one, --state-licence"
        )
    return kept, left_out


def opted_in(objects: Sequence[SourceObject], listed: OptOut) -> list[SourceObject]:
    """Choose the objects that an opt-out list does not cover.

    Raises:
        DatasetError: it covers all.
    """
    kept = [each for each in objects if not listed.entry_of(each.id, each.creator, each.source)]
    if not kept:
        raise DatasetError("--opt-out: the list covers every object of the source")
    return kept


def state_credits(objects: Sequence[SourceObject], licence: str, creator: str) -> list[SourceObject]:
    """Give objects that state no licence this one, and those that name no creator this one; "" changes nothing."""
    named = spdx(licence)
    return [replace(each, licence=each.licence or named, creator=each.creator or creator) for each in objects]


def select(objects: Sequence[SourceObject], which: str) -> list[SourceObject]:
    """Choose objects: "all", or those that a file lists, one id per line, in the file's order.

    Raises:
        DatasetError: the file cannot be read, has an id that the source does not have, or lists none.
    """
    if which == "all":
        return list(objects)
    known = {entry.id: entry for entry in objects}
    wanted = read_ids(Path(which))
    if missing := [id_ for id_ in wanted if id_ not in known]:
        raise DatasetError(f"{which}: the source has no object {missing[0]!r} ({len(missing)} such ids)")
    if not wanted:
        raise DatasetError(f"--select {which}: the file lists no ids")
    return [known[id_] for id_ in wanted]


def read_ids(path: Path) -> list[str]:
    """Read ids from a text file, one per line; everything after # is a comment."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot read ids: {error}") from None
    return [word for line in lines if (word := line.split("#")[0].strip())]
