"""Words of captions: which ones a 2D model was trained on, in ``caption_words.json`` of its folder. Light: no torch."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.io.json_files import parse, read_plain

FILE = "caption_words.json"
_SHORTEST = 3
"""Letters of the shortest word that counts; what is left out are articles and the like."""


def words_in(captions: Iterable[str]) -> set[str]:
    """Return the distinct words of captions in lower case."""
    return {word for text in captions for word in re.findall(r"\w+", text.lower()) if len(word) >= _SHORTEST}


def read_caption_words(folder: Path) -> dict[str, int] | None:
    """Read how many training objects had each word in their captions; None where the model's folder does not say it."""
    try:
        words = parse(read_plain(folder / FILE))["words"]
        return {str(word): int(count) for word, count in words.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_caption_words(folder: Path, words: Mapping[str, int], about: str) -> None:
    """Write the file; ``about`` says for people where the words come from."""
    content = {"about": about, "words": dict(sorted(words.items()))}
    write_text(folder / FILE, json.dumps(content, ensure_ascii=False, indent=0) + "\n")
