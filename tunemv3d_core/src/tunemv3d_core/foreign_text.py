"""Text of other people's files as terminals and pages may show it. Light: imports nothing else of the project."""

import json
import re

_UNSEEN = (
    "\x00-\x1f\x7f-\x9f"  # controls, which move the cursor, clear the screen or rename the window
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing, which shows a text as another one
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # other ends of lines, marks of encodings and of annotations
    "\ud800-\udfff\U000e0000-\U000e007f"  # halves of characters, and letters that nothing shows
)
_HALVES = re.compile("[\ud800-\udfff]")
_ANYWHERE = re.compile(f"[{_UNSEEN}]")
_WITHIN_LINES = re.compile(f"(?![\n\t])[{_UNSEEN}]")

LONGEST_LINE, LONGEST_MESSAGE = 2_000, 20_000
"""Letters of one line, and of all lines, that a message may have."""


def shown(text: object, longest: int = 80) -> str:
    r"""Return a foreign text as part of one line: unseen letters and ends of lines as escapes, the middle cut out.

    Args:
        text: anything with a ``str``.
        longest: letters that the result has at most; at least 7.
    """
    whole = str(text)
    start, end = (longest - 5) // 2 + (longest - 5) % 2, (longest - 5) // 2
    found = _escaped(_ANYWHERE, whole[: longest + 1])
    if len(whole) <= longest and len(found) <= longest:
        return found
    return f"{found[:start]} ... {_escaped(_ANYWHERE, whole[-longest:])[-end:]}"


def is_whole(text: str) -> bool:
    """Tell whether a text holds no unpaired surrogates, which JSON can hold and no file can."""
    return _HALVES.search(text) is None


def harmless(text: str) -> str:
    """Return a message of several lines without letters that a terminal would obey; ends of lines and tabs stay."""
    return _escaped(_WITHIN_LINES, text)


def harmless_message(text: str) -> str:
    """Return ``harmless`` text of at most ``LONGEST_LINE`` letters a line and ``LONGEST_MESSAGE`` in all."""
    lines = [_cut(line, LONGEST_LINE) for line in text[: 2 * LONGEST_MESSAGE].split("\n")]
    return harmless(_cut("\n".join(lines), LONGEST_MESSAGE))


def harmless_json(text: str) -> str:
    r"""Return JSON that means the same, and in which what terminals obey is written as ``\uXXXX``."""
    return _WITHIN_LINES.sub(lambda match: json.dumps(match[0])[1:-1], text)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 40]} ... {text[-35:]}"


def _escaped(unseen: re.Pattern[str], text: str) -> str:
    return unseen.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
