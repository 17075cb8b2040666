"""What the 2D model knows of a dataset: which words of its captions stood in those that the model was trained on.

A model that never saw a fire truck does not picture one for its name, however well the losses look.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tunemv3d_core.console import messages
from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.io.caption_words import words_in
from tunemv3d_core.slots import Backbone, Dataset, KnowsCaptionWords

SELDOM = 10
"""Words of fewer training objects of the model than this are named, too: it has hardly seen what they mean."""
_NAMED = 8
"""So many words are named."""
PAGE = "docs/your-own-objects.md"


@dataclass(frozen=True)
class KnownWords:
    """Words of a dataset's captions beside those of the model's training.

    Attributes:
        objects: whose captions were read.
        strange: how many of them have a word of ``never`` or ``seldom``.
        words: distinct words in them.
        never: how many of the objects have each word that the model's captions lack.
        seldom: in how many of the model's training objects each other word was that has fewer than ``SELDOM``.
    """

    objects: int
    strange: int
    words: int
    never: dict[str, int]
    seldom: dict[str, int]

    @property
    def sentence(self) -> str:
        """What a person is told."""
        known = self.words - len(self.never)
        said = (
            f"the 2D model's training captions hold {known} of the {self.words} words in the captions of "
            f"{self.objects:,} objects ({known / max(self.words, 1):.0%})"
        )
        if self.never:
            said += f"; not: {_named(sorted(self.never, key=lambda word: (-self.never[word], word)))}"
        if self.seldom:
            rare = [f"{word} ({self.seldom[word]})" for word in sorted(self.seldom, key=self.seldom.__getitem__)]
            said += f"; for fewer than {SELDOM} objects: {_named(rare)}"
        if self.strange:
            said += f"; {self.strange:,} objects are called so. Samples of what it does not know are smears: see {PAGE}"
        return said

    def write(self, path: Path) -> None:
        """Write the figures and the sentence for the run's page."""
        content = {"sentence": self.sentence, **asdict(self)}
        write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def known_words(backbone: Backbone, dataset: Dataset, objects: Iterable[int]) -> KnownWords | None:
    """Compare captions of some objects with those of the backbone's training; None where it tells nothing of them."""
    known = backbone.caption_words() if isinstance(backbone, KnowsCaptionWords) else None
    return None if known is None else _compare([words_in(dataset.record(index).captions) for index in objects], known)


def tell(found: KnownWords) -> None:
    """Print the sentence, in yellow where there is something that the model does not know."""
    style = "yellow" if found.strange else None
    messages.print(f"data: {found.sentence}", style=style, markup=False, highlight=False, soft_wrap=True)


def _compare(objects: list[set[str]], known: Mapping[str, int]) -> KnownWords:
    counts = Counter(word for words in objects for word in words)
    never = {word: count for word, count in counts.items() if not known.get(word)}
    seldom = {word: known[word] for word in counts if 0 < known.get(word, 0) < SELDOM}
    strange = sum(not words.isdisjoint(never | seldom) for words in objects)
    return KnownWords(len(objects), strange, len(counts), never, seldom)


def _named(words: list[str]) -> str:
    more = len(words) - _NAMED
    return ", ".join(words[:_NAMED]) + (f" and {more} more" if more > 0 else "")
