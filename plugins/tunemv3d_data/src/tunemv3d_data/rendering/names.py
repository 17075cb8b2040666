"""Ids become folder names; those that cannot are found before anything is written."""

import re
import unicodedata
from collections.abc import Sequence

from tunemv3d_data.objects import SourceObject
from tunemv3d_data.rendering.settings import RenderJob

LONGEST = 200
"""Bytes of an id; file systems take 255 in a name."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Devices of Windows, whatever follows a dot."""
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')


def unusable(job: RenderJob, sources: Sequence[SourceObject]) -> dict[int, str]:
    """Find objects, by position, that cannot have a folder of their own on every common disk, with the reason.

    Of several objects that would share one (``Chair`` and ``chair``, composed and decomposed accents, an object
    called as another's variant) the first has it.
    """
    owners: dict[str, str] = {}
    found: dict[int, str] = {}
    for position, source in enumerate(sources):
        keys = {unicodedata.normalize("NFC", name).casefold() for name in job.names_of(source.id)}
        if fault := _fault(source.id):
            found[position] = fault
        elif taken := sorted(keys & owners.keys()):
            found[position] = f"would share its folder with {owners[taken[0]]!r}; rename one"
        else:
            owners |= dict.fromkeys(keys, source.id)
    return found


def _fault(id_: str) -> str:
    if not id_.strip() or id_ != id_.strip() or id_.startswith(".") or id_.endswith("."):
        return "its id is empty, or begins or ends with a dot or a space; rename it"
    if match := _FORBIDDEN.search(id_):
        return f"its id holds {match[0]!r}, which cannot be in a folder's name; rename it"
    if _RESERVED.fullmatch(id_):
        return "its id is the name of a device on Windows; rename it"
    if len(id_.encode("utf-8", "surrogatepass")) > LONGEST:
        return f"its id is longer than {LONGEST} bytes; rename it"
    return "" if id_.isprintable() else "its id holds characters that cannot be printed; rename it"
