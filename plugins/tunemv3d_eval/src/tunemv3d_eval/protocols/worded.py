"""What a prompt names: type, colour of the body, colours of parts; and prompts written by rule from these.

``python -m tunemv3d_eval.protocols.worded`` writes the packaged lists again.
"""

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.viz.colour_words import PALETTE

PARTS_OF: dict[str, tuple[str, ...]] = {
    "chair": ("legs", "seat"),
    "armchair": ("legs",),
    "office chair": ("base", "seat"),
    "bar stool": ("legs", "seat"),
    "stool": ("legs", "seat"),
    "folding chair": ("legs", "seat"),
    "school chair": ("legs", "seat"),
    "children's chair": ("legs", "seat"),
    "high chair": ("legs", "seat"),
    "deck chair": (),
}
"""Types that prompts by rule name, and the parts that have a colour of their own in them."""
TYPES = tuple(PARTS_OF)
PARTS = ("legs", "base", "seat")
_COLOUR = "|".join(sorted(PALETTE, key=len, reverse=True))
_SORT = "|".join(sorted((kind for kind in TYPES if kind != "chair"), key=len, reverse=True))
_ADJECTIVES = f"an?|the|{_COLOUR}|wooden|plastic|metal|leather|fabric|tall|low|wide|narrow|dining|kitchen"


@dataclass(frozen=True)
class Named:
    """What a text names; ``""`` and nothing for what it does not.

    Attributes:
        type: one of ``TYPES``.
        body: the colour of the whole, without its named parts.
        parts: colours by part, one of ``PARTS``.
    """

    type: str = ""
    body: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Word it: "a red office chair with a black base"."""
        parts = [f"{'' if part == 'legs' else _article(colour)}{colour} {part}" for part, colour in self.parts.items()]
        return f"{_article(self.body)}{self.body} {self.type}" + (f" with {' and '.join(parts)}" if parts else "")


def named(prompt: str) -> Named:
    """Find what a prompt names: the first type and colour before "with", and "COLOUR [material] PART" after it.

    Returns:
        What is found. A chair of a sort that is none of ``TYPES``, such as "rocking chair", names no type.
    """
    text = prompt.lower().replace("gray", "grey")
    pairs = re.findall(rf"\b({_COLOUR})(?: (?!and\b)\w+)? ({'|'.join(PARTS)})\b", text)
    body = re.split(r"\bwith\b", text)[0]
    colour = re.search(rf"\b({_COLOUR})\b", body)
    kind = re.search(rf"\b({_SORT})\b", body) or re.search(rf"\b(?:{_ADJECTIVES}) (chair)\b", body)
    return Named(kind[1] if kind else "", colour[1] if colour else "", {part: its for its, part in pairs})


def by_rule(count: int) -> list[Named]:
    """Write ``count`` different descriptions, the same ones always, in an order in which every stretch is alike.

    Types and colours take turns. About two of three name a part whose colour is not the body's.
    """
    draw = random.Random("chairs by rule")
    types, bodies, others = (_turns(draw, values) for values in (TYPES, tuple(PALETTE), tuple(PALETTE)))
    found: dict[str, Named] = {}
    while len(found) < count:
        kind, body, other = next(types), next(bodies), next(others)
        parts = PARTS_OF[kind]
        is_plain = not parts or draw.random() < 0.25 or other == body
        made = Named(kind, body, {} if is_plain else {draw.choice(parts): other})
        found.setdefault(made.text(), made)
    return list(found.values())


def write_lists(folder: Path) -> None:
    """Write ``chairs-300.txt`` and, its first sixty, ``chairs-60.txt``."""
    for count, purpose in ((300, "so that differences between methods show"), (60, "the first sixty of chairs-300")):
        lines = [f"# {count} prompts written by rule (protocols/worded.py): {purpose}."]
        lines += [each.text() for each in by_rule(count)]
        write_text(folder / f"chairs-{count}.txt", "\n".join(lines) + "\n")


def _turns(draw: random.Random, values: tuple[str, ...]) -> Iterator[str]:
    """Yield values for ever, each as often as the others, in an order drawn anew for every round."""
    while True:
        yield from draw.sample(values, len(values))


def _article(words: str) -> str:
    return "an " if words[0] in "aeiou" else "a "


if __name__ == "__main__":
    write_lists(Path(__file__).parent / "prompts")
