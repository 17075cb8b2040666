"""Captions put together from what was measured, and from the words of names and catalogues."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_data.captions.appearance import SECOND_SHARE, Appearance
from tunemv3d_data.captions.words import words_of
from tunemv3d_data.colours import COLOURS, colour_names
from tunemv3d_data.meshes.mesh import Mesh
from tunemv3d_data.objects import SourceObject

TALL = 1.3
"""An object is tall if it is this many times as high as it is wide and deep."""
_PEOPLE = ("woman", "man", "girl", "boy", "child", "baby", "person", "people")
_WOODEN = ("brown", "beige", "orange", "white", "black", "grey")


@dataclass(frozen=True)
class Description:
    """Words for one object.

    Attributes:
        type: what it is, in a common word.
        captions: from the short one to the fullest, without repetition.
    """

    type: str
    captions: tuple[str, ...]


Describe = Callable[[SourceObject, Mesh, Appearance], Description]
"""Caption rules: describe an object from its catalogue's words, its mesh, and what its pictures show."""


def describe(source: SourceObject, mesh: Mesh, seen: Appearance) -> Description:
    """Describe any object: by the words of its name, whether it is tall, and its two main colours."""
    kind = type_of(source)
    width, depth, height = (float(v) for v in mesh.size)
    size = "tall" if height / max(width, depth, 1e-6) > TALL else None
    part = f"and {seen.second}" if seen.second else None
    return Description(kind, captions(kind, seen, size, part))


def captions(kind: str, seen: Appearance, size: str | None = None, part: str | None = None) -> tuple[str, ...]:
    """Put several captions together.

    Args:
        kind: what the object is.
        seen: its appearance.
        size: a word before the colour, such as "tall".
        part: the second colour in words: "and red", which comes after the first colour, or "with red legs", at the end.
    """
    if kind.split()[-1] in _PEOPLE:
        return _captions_of_person(kind, seen.main, seen.second)
    material = wording(seen.material, seen.main)
    short = f"{seen.main} {kind}"
    found = [with_article(short)]
    if material:
        found.append(with_article(f"{seen.main} {material} {kind}"))
    if size:
        found.append(with_article(f"{size} {short}"))
    if part:
        ends = part.startswith("with")
        found.append(with_article(f"{short} {part}" if ends else f"{seen.main} {part} {kind}"))
    full = " ".join(word for word in (size, seen.main, material, kind) if word)
    if part and part.startswith("with") and "with" not in kind:
        full += " " + part
    found.append(with_article(full))
    return tuple(dict.fromkeys(found))


def type_of(source: SourceObject) -> str:
    """Name what an object is: as its collection classifies it, else by the words of name, tags or category."""
    texts = (source.name, *source.tags, source.category)
    return source.kind or next(filter(None, map(words_of, texts)), "object")


def describe_pictures(pictures: Sequence[Any], name: str = "") -> tuple[str, ...]:
    """Caption an object from pictures alone: its main colours and, where ``name`` tells it, its type.

    Args:
        pictures: each ``h w 4``, sRGB uint8.
        name: what a folder or a catalogue calls the object.
    """
    kind = type_of(SourceObject(id="", path=Path(), name=name))
    solid = np.concatenate([picture[picture[..., 3] > 200][:, :3] for picture in pictures])
    if not len(solid):
        return (with_article(kind),)
    shares = np.bincount(colour_names(solid), minlength=len(COLOURS)) / len(solid)
    first, next_ = (int(index) for index in np.argsort(-shares, kind="stable")[:2])
    main = list(COLOURS)[first]
    second = list(COLOURS)[next_] if shares[next_] >= SECOND_SHARE else None
    if kind.split()[-1] in _PEOPLE:
        return _captions_of_person(kind, main, second)
    found = with_article(f"{main} {kind}")
    return (found,) if second is None else (found, with_article(f"{main} and {second} {kind}"))


def wording(material: str | None, colour: str) -> str | None:
    """Return a material's word; wood is called so only where it has a colour of wood."""
    return None if material == "wooden" and colour not in _WOODEN else material


def with_article(words: str) -> str:
    """Put "a" or "an" before words; plurals have none."""
    if words.endswith(("flowers", "shoes")):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _captions_of_person(kind: str, main: str, second: str | None) -> tuple[str, ...]:
    """Name the colours of the clothes: before "woman" or "man" they would be read as another thing."""
    found = (f"{with_article(kind)} in {main}", with_article(kind))
    return found if second is None else (*found, f"{with_article(kind)} in {main} and {second}")
