"""What a name says that an object is: its words, one language after another, against the vocabulary.

Words count as a whole. A name means its noun: in "glass door cabinet" the last one, in "chaise de bureau" the first, in
"chair with cushion" that before the preposition. If that word is unknown, so is the object: "chair leg holder" is no
chair.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from tunemv3d_data.captions.vocabulary import ENGLISH, Language, Vocabulary, key

_IDENTIFIERS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # uuid
    r"|(?<![^\W_])[0-9a-f]{16,}(?![^\W_])"  # hashes: ShapeNet, Objaverse, TRELLIS
    r"|(?<![^\W_])(?:(?:[a-z]+\d+){2,}[a-z]*|(?:\d+[a-z]+){2,}\d*)(?![^\W_])"  # b07xj8c8f5
    r"|(?=[a-z]*\d)[^\W_]{20,}",
    re.IGNORECASE,
)
_HUMPS = re.compile(r"(?<=[a-z]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})|(?<=\d)(?=[A-Z][a-z])")
_PARTS = re.compile(r"(?P<gap>\s[-\u2013\u2014]\s|[,;:/|()\[\]&+])|(?P<number>\d+)|(?P<word>[^\W\d_]+)")
_GAP, _JOIN = "", "&"
_LONGEST = 5
"""Words of the longest name of a type."""

_T = TypeVar("_T")
Unsaid = Literal["nothing", "unknown", "ambiguous", "several"]
"""Why a name gives no type: it has no words, none that is known, or such as languages disagree on; or it names several
things."""


@dataclass(frozen=True)
class Meaning:
    """What a name says: a type, or why it says none."""

    type: str | None
    unsaid: Unsaid | None = None


@dataclass(frozen=True)
class _Reading:
    """A name as one language reads it.

    Attributes:
        type: None where it says none.
        words: nouns and unknown words.
        unknown: of them, those that the language does not know.
        rank: words known, whether the noun stands in the vocabulary as it is, words of the noun: the more the better.
        own: the language has one of the words, and English has not.
        several: more than one thing is named.
    """

    type: str | None
    words: int
    unknown: int
    rank: tuple[int, bool, int]
    own: bool
    several: bool = False


def meaning(name: str, vocabulary: Vocabulary) -> Meaning:
    """Return what a name says that an object is."""
    if vocabulary.default_names.fullmatch(name.strip()):
        return Meaning(None, "nothing")
    parts = list(_split(name))
    english = vocabulary.languages[ENGLISH]
    readings = {code: _read(parts, language, english, vocabulary) for code, language in vocabulary.languages.items()}
    if readings[ENGLISH].words == 0:
        return Meaning(None, "nothing")
    foreign = [reading for reading in readings.values() if reading.own]
    said = [reading for reading in (*_trusted(readings[ENGLISH], name, foreign), *foreign) if reading.type is not None]
    best = max((reading.rank for reading in said), default=None)
    types = {reading.type for reading in said if reading.rank == best}
    if len(types) == 1:
        return Meaning(types.pop())
    several = any(reading.several for reading in readings.values())
    return Meaning(None, "ambiguous" if types else "several" if several else "unknown")


def _trusted(english: "_Reading", name: str, foreign: Sequence["_Reading"]) -> Sequence["_Reading"]:
    """The English reading, unless words that it does not know speak for another language."""
    return [] if english.unknown and (foreign or not name.isascii()) else [english]


def material(name: str, vocabulary: Vocabulary) -> str | None:
    """Return the word for what a material's name says that it is: "wooden" for "dark_oak.002" and "whitewood"."""
    return next((found for part in _split(name) if (found := _material_of(part, vocabulary))), None)


def _material_of(word: str, vocabulary: Vocabulary) -> str | None:
    """A material's word, alone or grown together with an adjective; "steak" is no teak, and "environment" no iron."""
    known = vocabulary.materials
    if word in known:
        return known[word]
    adjectives = vocabulary.languages[ENGLISH].modifiers
    for at in range(2, len(word) - 1):
        first, second = word[:at], word[at:]
        if first in adjectives and second in known:
            return known[second]
        if second in adjectives and first in known:
            return known[first]
    return None


def has_foreign_script(name: str) -> bool:
    """Return whether a name is written in letters other than Latin ones."""
    return any(letter.isalpha() and "LATIN" not in unicodedata.name(letter, "") for letter in name)


def _split(name: str) -> Iterator[str]:
    """The words and numbers of a name as the vocabulary's keys, with ``_GAP`` where a new phrase begins."""
    spaced = _HUMPS.sub(" ", _IDENTIFIERS.sub(" ", unicodedata.normalize("NFKC", name)))
    for match in _PARTS.finditer(spaced):
        if match["gap"]:
            yield _JOIN if match["gap"] in "&+" else _GAP
        else:
            yield key(match[0])


def _longest(parts: Sequence[str], find: Callable[[str], _T | None]) -> tuple[int, _T] | None:
    """Find the most words from the first on that mean something together: their number, and what they mean."""
    until = next((at for at, part in enumerate(parts[:_LONGEST]) if part in (_GAP, _JOIN)), _LONGEST)
    for count in range(min(until, len(parts)), 0, -1):
        if (found := find("".join(parts[:count]))) is not None:
            return count, found
    return None


def _skips(parts: Sequence[str], vocabulary: Vocabulary) -> int:
    """The number of words from the first on that say nothing, such as "low poly"."""
    found = _longest(parts, lambda word: True if word in vocabulary.file_words else None)
    return found[0] if found else 0


@dataclass(frozen=True)
class _Noun:
    """A noun in a name: its type, in the number that it has there, and of how many words it is."""

    type: str
    plural: bool
    words: int


def _read(parts: Sequence[str], language: Language, english: Language, vocabulary: Vocabulary) -> _Reading:
    """Read the first phrase of a name, up to a preposition, a number or a gap: its nouns and unknown words."""
    phrase: list[_Noun | None] = []
    known, own, at = 0, False, 0
    while at < len(parts):
        part, step = parts[at], 1
        if found := _longest(parts[at:], language.noun):
            step, (type_, plural) = found
            # "casetas para perros": where the noun comes first, the last word's plural is not its own.
            phrase.append(_Noun(type_, plural and (step == 1 or language.head == "last"), step))
        elif count := _skips(parts[at:], vocabulary):
            at += count
            continue
        elif not language.knows(part):
            if phrase and not part.isalpha():
                break
            if part.isalpha() and not _is_code(part):
                phrase.append(None)
            at += 1
            continue
        elif part not in language.modifiers and phrase:
            own |= not english.knows(part)
            known += part in language.stops
            break
        known += step
        own |= not all(english.knows(word) for word in parts[at : at + step])
        at += step
    return _reading(phrase, parts[at:], known, own, language)


def _reading(
    phrase: Sequence[_Noun | None], rest: Sequence[str], known: int, own: bool, language: Language
) -> _Reading:
    """Find the noun that a phrase means; what comes after the phrase may be a second thing."""
    head = phrase[-1 if language.head == "last" else 0] if phrase else None
    unknown = sum(word is None for word in phrase)
    if head is None:
        return _Reading(None, len(phrase), unknown, (known, False, 0), own)
    if any(part == _JOIN or part in language.joins for part in rest):
        return _Reading(None, len(phrase), unknown, (known, False, 0), own, several=True)
    type_ = plural_of(head.type) if head.plural else head.type
    return _Reading(type_, len(phrase), unknown, (known, not head.plural, head.words), own)


def _is_code(part: str) -> bool:
    """Single letters of the alphabet number things: "type B", "B2"."""
    return len(part) == 1 and part.isascii()


_IRREGULAR = {
    **{"man": "men", "woman": "women", "child": "children", "person": "people", "foot": "feet", "mouse": "mice"},
    **{"knife": "knives", "shelf": "shelves", "wolf": "wolves", "loaf": "loaves", "goose": "geese", "tooth": "teeth"},
}
_SAME = ("sheep", "deer", "fish")


def plural_of(words: str) -> str:
    """Return the English plural of a noun: "office chairs", "knives"; one that is a plural stays."""
    before, _, last = words.rpartition(" ")
    if last in _IRREGULAR:
        last = _IRREGULAR[last]
    elif last in _SAME or is_plural(last):
        return words
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "es" if re.search(r"(s|x|z|ch|sh)$", last) else "s"
    return f"{before} {last}".strip()


def is_plural(words: str) -> bool:
    """Return whether a noun is a plural, by its last word: "glasses" is, "glass", "bus" and "lens" are not."""
    last = words.rpartition(" ")[2]
    return last in _IRREGULAR.values() or (last.endswith("s") and not last.endswith(("ss", "us", "is", "lens", "gas")))
