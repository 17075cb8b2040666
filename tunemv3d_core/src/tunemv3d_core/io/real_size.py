"""Sizes of meshes in the world, which shapes do not have: as somebody says, or typical of what the prompt names."""

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.slots import TexturedMesh

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}

UNSCALED = "none"
"""Word for a mesh whose world unit is a metre."""

_PARTS = re.compile(r"\b(?:with|on|of|in|beside|and)\b")
"""Words after which a prompt names what belongs to the object."""


@dataclass(frozen=True)
class Height:
    """Height that a mesh should get.

    Attributes:
        metres: its size.
        reason: where it comes from, in words.
    """

    metres: float
    reason: str


def wanted_height(prompt: str, size: str = "") -> Height | None:
    """Return the height of a mesh.

    Args:
        prompt: of the object.
        size: a height with its unit, such as "0.45m"; ``UNSCALED``; or "" for what is typical of the prompt's thing.

    Returns:
        The height; None where the mesh should stay as it is.

    Raises:
        TuneMV3DError: no size.
    """
    if size == UNSCALED:
        return None
    if size:
        return Height(parse_length(size), f"as asked, {size}")
    thing = thing_of(prompt)
    return None if thing is None else Height(_typical()[thing], f"typical of '{thing}'")


def parse_length(text: str) -> float:
    """Read a length such as "0.45m", "45 cm", "450mm", "18in" or "1.5ft" as metres.

    Raises:
        TuneMV3DError: something else.
    """
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]+)\s*", text.lower())
    metres = float(found[1]) * METRES.get(found[2], 0.0) if found else 0.0
    if not 1e-5 < metres < 1e5:
        raise TuneMV3DError(
            f"--size {text}: a height with its unit is expected, such as 0.45m, 45cm, 450mm, 18in or 1.5ft, or "
            f"'{UNSCALED}'"
        )
    return metres


def thing_of(prompt: str) -> str | None:
    """Return the thing that a prompt names, as ``typical_heights.json`` calls it: the last one before its parts."""
    words = re.findall(r"[^\W\d_]+", _PARTS.split(prompt.lower())[0])
    for end in range(len(words), 0, -1):
        for start in range(end):
            phrase = " ".join(words[start:end])
            for name in (phrase, phrase.removesuffix("s")):
                if name in _typical():
                    return name
    return None


def as_large_as(mesh: TexturedMesh, height: Height | None) -> TexturedMesh:
    """Scale a mesh about the origin; its figure ``height`` says how high it is then, metres."""
    low, high = float(mesh.vertices[:, 2].min()), float(mesh.vertices[:, 2].max())
    factor = 1.0 if height is None or high <= low else height.metres / (high - low)
    figures = {**mesh.figures, "height": round((high - low) * factor, 4)}
    return replace(mesh, vertices=mesh.vertices * mesh.vertices.dtype.type(factor), figures=figures)


@cache
def _typical() -> dict[str, float]:
    content = files("tunemv3d_core.io").joinpath("typical_heights.json").read_text(encoding="utf-8")
    return {name: float(metres) for name, metres in json.loads(content).items()}
