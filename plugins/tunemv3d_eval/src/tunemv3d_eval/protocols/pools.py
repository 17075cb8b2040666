"""Pools: the texts among which a picture's own is looked for."""

from pathlib import Path

from tunemv3d_core.errors import SpecError, suggestion
from tunemv3d_core.io.prompts import read_prompts

_FOLDERS = (Path(__file__).parent / "pools", Path(__file__).parent / "prompts")


def load_pool(name: str) -> tuple[str, ...]:
    """Load a pool: a packaged one, a packaged list of prompts, or a text file with one candidate a line.

    Raises:
        SpecError: no such pool, an empty one, or one in which a text stands twice.
    """
    packaged = [folder / f"{name}.txt" for folder in _FOLDERS]
    file = next((each for each in (*packaged, Path(name)) if each.is_file()), None)
    if file is None:
        known = sorted(each.stem for folder in _FOLDERS for each in folder.glob("*.txt"))
        raise SpecError(
            f"pool '{name}': no such file, and no packaged pool.{suggestion(name, known)} Packaged: {', '.join(known)}"
        )
    return checked_pool(read_prompts(file), name)


def checked_pool(candidates: list[str], name: str) -> tuple[str, ...]:
    """Return the candidates if they are at least two, all different.

    Raises:
        SpecError: too few, or duplicates, which no picture could tell apart.
    """
    if len(candidates) < 2:
        raise SpecError(f"pool '{name}': holds {len(candidates)} candidates; a choice needs at least two, one a line")
    seen: dict[str, str] = {}
    for text in candidates:
        if (first := seen.setdefault(plain(text), text)) is not text:
            raise SpecError(f"pool '{name}': '{first}' and '{text}' are one candidate twice; leave one of them out")
    return tuple(candidates)


def plain(text: str) -> str:
    """Return a text as candidates are compared: in lower case, with single blanks, without a full stop at its end."""
    return " ".join(text.lower().split()).removesuffix(".")
