"""Texts about one object: what its captions say as attributes, and many ways to say some of them."""

import random
import re
from dataclasses import astuple, dataclass, replace

from tunemv3d_core.viz.colour_words import PALETTE

COLOUR = "|".join(sorted(PALETTE, key=len, reverse=True))
PARTS = ("legs", "base", "seat", "shade", "pot", "trunk")
SIZES = ("tall", "low", "wide", "narrow")
NONE = "none"

SYNONYMS: dict[str, tuple[str, ...]] = {
    "chair": ("dining chair", "kitchen chair"),
    "office chair": ("swivel chair", "desk chair"),
    "deck chair": ("garden chair", "lounge chair"),
    "armchair": ("easy chair",),
    "bar stool": ("high stool",),
    "bean bag": ("puff",),
    "sofa": ("couch",),
    "wardrobe": ("closet",),
    "television": ("tv",),
    "grey": ("gray",),
    "legs": ("feet",),
    "base": ("foot", "wheels", "legs"),
    "seat": ("cushion",),
}
"""Words that a prompt may use in place of a caption's."""


@dataclass(frozen=True)
class Attributes:
    """Attributes of an object, or those that a text names; ``""`` is unnamed.

    Attributes:
        type: what it is.
        main: the colour of most of it.
        second: the next colour, ``"none"`` where it is too small to name.
        part: the part that has the second colour, ``"none"`` where that is no single part.
        material: such as "wooden".
        size: such as "tall".
    """

    type: str = ""
    main: str = ""
    second: str = ""
    part: str = ""
    material: str = ""
    size: str = ""

    def fits(self, other: "Attributes") -> bool:
        """Return whether everything that this text names is so of ``other``."""
        return all(not mine or mine == theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))


def attributes_of(kind: str, main: str, captions: tuple[str, ...]) -> Attributes:
    """Read an object's attributes out of its captions, as ``sweethome_captions.py`` words them."""
    found = Attributes(kind, main, NONE, NONE, NONE, NONE)
    for caption in captions:
        words = re.sub(r"^an? ", "", caption)
        if words.split()[0] in SIZES:
            found = replace(found, size=words.split()[0])
        if both := re.search(rf"\b(?:{COLOUR}) and ({COLOUR})\b", words):
            found = replace(found, second=both[1])
        if part := re.search(rf"with (?:a |an )?({COLOUR})(?: \w+)? ({'|'.join(PARTS)})$", words):
            found = replace(found, second=part[1], part=part[2])
        if (between := re.search(rf"{main} (\w+) {re.escape(kind)}", words)) and between[1] != "and":
            found = replace(found, material=between[1])
    return found


def vary(whole: Attributes, draw: random.Random) -> tuple[str, Attributes]:
    """Word some of an object's attributes at random.

    Returns:
        The text and the attributes that it names.
    """
    keep = {"main": draw.random() < 0.94, "second": draw.random() < 0.75, "material": draw.random() < 0.3}
    keep |= {"size": draw.random() < 0.2, "part": draw.random() < 0.85, "type": draw.random() < 0.93}
    if whole.second == NONE or not keep["second"]:
        keep["second"] = keep["part"] = False
    told = Attributes(
        **{name: getattr(whole, name) if keep[name] and getattr(whole, name) != NONE else "" for name in keep}
    )
    if not (told.type or told.main):
        told = replace(told, type=whole.type)
    return _word(told, draw), told


def full_text(whole: Attributes) -> str:
    """Word type and colours in the plain way: "a red office chair with black legs"."""
    told = replace(whole, material="", size="", **({"second": "", "part": ""} if whole.second == NONE else {}))
    told = replace(told, part="" if told.part == NONE else told.part)
    return _article(_plain(told, {}))


def _word(told: Attributes, draw: random.Random) -> str:
    spoken = {}
    for word in (told.type, told.main, told.second, told.part):
        if word in SYNONYMS and draw.random() < 0.2:
            spoken[word] = draw.choice(SYNONYMS[word])
    style = draw.random()
    if style < 0.7 or not (told.type and told.main):
        text = _article(_plain(told, spoken))
    elif style < 0.85:
        text = _article(_noun(replace(told, main=""), spoken)) + f" in {_say(told.main, spoken)}" + _tail(told, spoken)
    else:
        text = f"{_plain(replace(told, second='', part=''), spoken)}"
        if told.second:
            text += f", {_say(told.second, spoken)} {_say(told.part, spoken) if told.part else 'parts'}"
    return draw.choice(("", "", "", "a picture of ", "a render of ")) + text


def _plain(told: Attributes, spoken: dict[str, str]) -> str:
    if told.second and not told.part and told.main:
        return _noun(replace(told, main=f"{_say(told.main, spoken)} and {_say(told.second, spoken)}"), spoken)
    return _noun(told, spoken) + _tail(told, spoken)


def _noun(told: Attributes, spoken: dict[str, str]) -> str:
    kind = _say(told.type, spoken) if told.type else "thing"
    return " ".join(word for word in (told.size, _say(told.main, spoken), told.material, kind) if word)


def _tail(told: Attributes, spoken: dict[str, str]) -> str:
    if not told.second:
        return ""
    if not told.part:
        return f" and {_say(told.second, spoken)}"
    part = _say(told.part, spoken)
    words = f"{_say(told.second, spoken)} {part}"
    return f" with {words if part.endswith('s') or part == 'feet' else _article(words)}"


def _say(word: str, spoken: dict[str, str]) -> str:
    return spoken.get(word, word)


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
