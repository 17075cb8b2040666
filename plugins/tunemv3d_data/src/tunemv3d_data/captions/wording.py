"""Captions put together from what was measured, and from the words of names and catalogues."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_data.captions.appearance import SECOND_SHARE, Appearance
from tunemv3d_data.captions.names import has_foreign_script, is_plural, meaning
from tunemv3d_data.captions.vocabulary import Vocabulary, load_vocabulary
from tunemv3d_data.colours import COLOURS, colour_names
from tunemv3d_data.meshes.mesh import Mesh
from tunemv3d_data.notes import note
from tunemv3d_data.objects import SourceObject

TALL = 1.3
"""An object is tall if it is this many times as high as it is wide and deep."""
UNKNOWN = "object"
"""The type of what has no name, or one that says nothing known."""
_PEOPLE = (
    "woman",
    "man",
    "girl",
    "boy",
    "child",
    "baby",
    "person",
    "women",
    "men",
    "girls",
    "boys",
    "children",
    "people",
)
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


def describe(source: SourceObject, mesh: Mesh, seen: Appearance, vocabulary: Vocabulary | None = None) -> Description:
    """Describe any object: what its name says that it is, whether it is tall, and its two main colours.

    A name that says nothing known is noted, unless the object comes with captions.

    Args:
        source: the object and its catalogue's words.
        mesh: the mesh.
        seen: its appearance.
        vocabulary: what names mean; None: the packaged one.
    """
    kind = type_of(source, vocabulary)
    if kind == UNKNOWN and not source.given:
        _note_unknown(source.name, vocabulary)
    width, depth, height = (float(v) for v in mesh.size)
    size = "tall" if height / max(width, depth, 1e-6) > TALL else None
    part = f"and {seen.second}" if seen.second else None
    return Description(kind, captions(kind, seen, size, part, vocabulary))


def captions(
    kind: str,
    seen: Appearance,
    size: str | None = None,
    part: str | None = None,
    vocabulary: Vocabulary | None = None,
) -> tuple[str, ...]:
    """Put several captions together.

    Args:
        kind: what the object is.
        seen: its appearance.
        size: a word before the colour, such as "tall".
        part: the second colour in words: "and red", which comes after the first colour, or "with red legs", at the end.
        vocabulary: which types "a" does not fit; None: the packaged one.
    """
    if kind.split()[-1] in _PEOPLE:
        return _captions_of_person(kind, seen.main, seen.second)
    material = wording(seen.material, seen.main)
    short = f"{seen.main} {kind}"
    found = [short]
    if material:
        found.append(f"{seen.main} {material} {kind}")
    if size:
        found.append(f"{size} {short}")
    if part:
        ends = part.startswith("with")
        found.append(f"{short} {part}" if ends else f"{seen.main} {part} {kind}")
    full = " ".join(word for word in (size, seen.main, material, kind) if word)
    if part and part.startswith("with") and "with" not in kind:
        full += " " + part
    found.append(full)
    return tuple(dict.fromkeys(with_article(words, vocabulary) for words in found))


def type_of(source: SourceObject, vocabulary: Vocabulary | None = None) -> str:
    """Name what an object is: as its collection classifies it, else as its name says, else ``UNKNOWN``.

    Tags, and after them the category, are asked only where the name says nothing at all, such as "untitled"; tags that
    name several types tell none.
    """
    vocabulary = vocabulary or load_vocabulary()
    if source.kind:
        return source.kind
    said = meaning(source.name, vocabulary)
    if said.unsaid != "nothing":
        return said.type or UNKNOWN
    for texts in (source.tags, (source.category,)):
        types = {found.type for text in texts if (found := meaning(text, vocabulary)).type}
        if len(types) == 1:
            return str(types.pop())
    return UNKNOWN


_UNSAID = {
    "nothing": "says nothing of the object",
    "unknown": "holds no word for it that the vocabulary has",
    "ambiguous": "means different things in different languages",
    "several": "names several things",
}


def _note_unknown(name: str, vocabulary: Vocabulary | None) -> None:
    """Note why an object has no type."""
    said = meaning(name, vocabulary or load_vocabulary())
    reason = _UNSAID[said.unsaid or "nothing"]
    if said.unsaid == "unknown" and has_foreign_script(name):
        reason = "is in a script that the vocabulary has no words of"
    subject = f"the name '{name}' {reason}" if name else "it has no name"
    note("caption", f"{subject}; its captions say object")


def describe_pictures(pictures: Sequence[Any], name: str = "", vocabulary: Vocabulary | None = None) -> tuple[str, ...]:
    """Caption an object from pictures alone: its main colours and, where ``name`` tells it, its type.

    Args:
        pictures: each ``h w 4``, sRGB uint8.
        name: what a folder or a catalogue calls the object.
        vocabulary: what names mean; None: the packaged one.
    """
    kind = type_of(SourceObject(id="", path=Path(), name=name), vocabulary)
    if kind == UNKNOWN:
        _note_unknown(name, vocabulary)
    solid = np.concatenate([picture[picture[..., 3] > 200][:, :3] for picture in pictures])
    if not len(solid):
        return (with_article(kind, vocabulary),)
    shares = np.bincount(colour_names(solid), minlength=len(COLOURS)) / len(solid)
    first, next_ = (int(index) for index in np.argsort(-shares, kind="stable")[:2])
    main = list(COLOURS)[first]
    second = list(COLOURS)[next_] if shares[next_] >= SECOND_SHARE else None
    if kind.split()[-1] in _PEOPLE:
        return _captions_of_person(kind, main, second)
    found = [f"{main} {kind}"] if second is None else [f"{main} {kind}", f"{main} and {second} {kind}"]
    return tuple(with_article(words, vocabulary) for words in found)


def wording(material: str | None, colour: str) -> str | None:
    """Return a material's word; wood is called so only where it has a colour of wood."""
    return None if material == "wooden" and colour not in _WOODEN else material


def with_article(words: str, vocabulary: Vocabulary | None = None) -> str:
    """Put "a" or "an" before words by how they are spoken; plurals and what cannot be counted have none."""
    noun = words.partition(" with ")[0]
    without = (vocabulary or load_vocabulary()).without_article
    if is_plural(noun) or any(noun == word or noun.endswith(" " + word) for word in without):
        return words
    return f"{'an' if _begins_with_vowel(words.split()[0]) else 'a'} {words}"


def _begins_with_vowel(word: str) -> bool:
    """Return whether a word is spoken with a vowel first: "hourglass", "SUV" and "F16" are, "unicorn" and "UFO" not."""
    if re.match(r"[A-Z](?![a-z])", word):  # spelt letter by letter
        return word[0] in "AEFHILMNORSX"
    return re.match(r"(?!uni(?!n)|use|ure|uri|ute|uku|eu|one\b)[aeiou]|hour|heir|honest", word.lower()) is not None


def _captions_of_person(kind: str, main: str, second: str | None) -> tuple[str, ...]:
    """Name the colours of the clothes: before "woman" or "man" they would be read as another thing."""
    found = (f"{with_article(kind)} in {main}", with_article(kind))
    return found if second is None else (*found, f"{with_article(kind)} in {main} and {second}")
