"""The vocabulary: what words of names mean, from ``vocabulary.json`` and from a file of a person's own."""

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tunemv3d_core.errors import DatasetError

PACKAGED = Path(__file__).with_name("vocabulary.json")
ENGLISH = "en"


class LanguageWords(BaseModel):
    """Words of a language other than those of objects.

    Attributes:
        head: the place of the noun that says what a thing is: "last" (office chair), "first" (chaise de bureau).
        joins: words such as "and", after which a second thing is named.
        stops: prepositions, after which a name says no more what the thing is.
        modifiers: adjectives, articles and materials.
        plurals: endings of plurals and what stands in their place in the singular.
    """

    model_config = ConfigDict(extra="forbid")

    head: Literal["first", "last"]
    joins: list[str] = []
    stops: list[str] = []
    modifiers: list[str] = []
    plurals: list[tuple[str, str]] = []


class VocabularyFile(BaseModel):
    """Content of a vocabulary's file.

    Attributes:
        about: for people.
        languages: by their codes.
        types: for each type, in a common English word, its names by language; a plain list is English. The type is a
            name of itself.
        materials: for each word of captions, the words that names of materials have for it, in any language.
        file_words: words that say nothing of an object, wherever they stand.
        default_names: regular expressions of whole names that programs give by themselves.
        without_article: types that "a" does not fit.
    """

    model_config = ConfigDict(extra="forbid")

    about: str = ""
    languages: dict[str, LanguageWords] = {}
    types: dict[str, list[str] | dict[str, list[str]]] = {}
    materials: dict[str, list[str]] = {}
    file_words: list[str] = []
    default_names: list[str] = []
    without_article: list[str] = []


@dataclass(frozen=True)
class Language:
    """A language, its words as ``key`` makes them.

    Attributes:
        head, plurals: as in ``LanguageWords``.
        joins, stops, modifiers: sets of keys.
        nouns: what names mean, by their keys.
    """

    head: Literal["first", "last"]
    plurals: tuple[tuple[str, str], ...]
    joins: frozenset[str]
    stops: frozenset[str]
    modifiers: frozenset[str]
    nouns: Mapping[str, str]

    def noun(self, word: str) -> tuple[str, bool] | None:
        """Return a key's type, and whether the key is its plural; None if it is no noun of the language."""
        if word in self.nouns:
            return self.nouns[word], False
        for ending, singular in self.plurals:
            stem = word.removesuffix(ending) + singular
            if word.endswith(ending) and not word.endswith("ss") and len(stem) > 2 and stem in self.nouns:
                return self.nouns[stem], True
        return None

    def knows(self, word: str) -> bool:
        """Return whether the language has the word at all."""
        return any(word in words for words in (self.modifiers, self.stops, self.joins)) or self.noun(word) is not None


@dataclass(frozen=True)
class Vocabulary:
    """Words of names and what they mean.

    Attributes:
        languages: by code, English among them.
        materials: the captions' words by the key of what materials are called.
        file_words: keys of words that say nothing.
        default_names: matches whole names that programs give.
        without_article: types that "a" does not fit.
    """

    languages: Mapping[str, Language]
    materials: Mapping[str, str]
    file_words: frozenset[str]
    default_names: re.Pattern[str]
    without_article: frozenset[str]


@cache
def load_vocabulary(file: Path | None = None) -> Vocabulary:
    """Load the packaged vocabulary, once per process, with a file of a person's own on top of it.

    A word that both have means what the person's file says.

    Raises:
        DatasetError: the file cannot be read, or is no vocabulary; names it and the place.
    """
    files = [_read(PACKAGED)] + ([] if file is None else [_read(file)])
    codes = dict.fromkeys(code for content in files for code in content.languages)
    for content in files:
        for name, words in content.types.items():
            if unknown := set(words if isinstance(words, dict) else ()) - set(codes):
                raise DatasetError(f"{file}: types.{name}: no language {min(unknown)!r}; describe it under 'languages'")
    patterns = [pattern for content in files for pattern in content.default_names]
    return Vocabulary(
        languages={code: _language(code, files) for code in codes},
        materials={key(word): name for c in files for name, words in c.materials.items() for word in (name, *words)},
        file_words=frozenset(key(word) for content in files for word in content.file_words),
        default_names=re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.IGNORECASE),
        without_article=frozenset(word for content in files for word in content.without_article),
    )


def key(text: str) -> str:
    """Reduce a word or several to what is compared: letters and digits without accents, case and gaps."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if letter.isalnum())


def _read(file: Path) -> VocabularyFile:
    try:
        content = VocabularyFile.model_validate_json(file.read_text(encoding="utf-8-sig"))
        for pattern in content.default_names:
            re.compile(pattern)
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{file}: cannot read the vocabulary: {error}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise DatasetError(f"{file}: no vocabulary: {f'{place}: ' if place else ''}{fault['msg']}") from None
    except re.error as error:
        raise DatasetError(f"{file}: default_names: {json.dumps(error.pattern)} is no regular expression") from None
    return content


def _language(code: str, files: list[VocabularyFile]) -> Language:
    """Put a language together from all files that speak of it; the last one's nouns win."""
    parts = [content.languages[code] for content in files if code in content.languages]
    nouns: dict[str, str] = {}
    for content in files:
        for name, words in content.types.items():
            by_language = words if isinstance(words, dict) else {ENGLISH: words}
            own = [name] if code == ENGLISH else []
            nouns |= {key(word): name for word in (*own, *by_language.get(code, ()))}
    return Language(
        head=parts[-1].head,
        plurals=tuple(pair for part in parts for pair in part.plurals),
        joins=frozenset(key(word) for part in parts for word in part.joins),
        stops=frozenset(key(word) for part in parts for word in part.stops),
        modifiers=frozenset(key(word) for part in parts for word in part.modifiers),
        nouns=nouns,
    )
