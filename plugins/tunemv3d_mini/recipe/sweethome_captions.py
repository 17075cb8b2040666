"""Caption rules for the furniture libraries of Sweet Home 3D, for ``tunemv3d data render --caption-rules``.

What an object is, in one common word for all its sorts; which part bears the second colour; what is tall, low or wide
for its type.
"""

import re
import unicodedata

from tunemv3d_data.captions.appearance import Appearance
from tunemv3d_data.captions.wording import TALL, Description, captions, with_article, wording
from tunemv3d_data.meshes.mesh import Mesh
from tunemv3d_data.objects import SourceObject

TYPES: tuple[tuple[str, str], ...] = (
    (r"wheelchair", "wheelchair"),
    (r"high chair", "high chair"),
    (r"bar (stool|chair)", "bar stool"),
    (r"\bstool", "stool"),
    (r"(deck|beach|relax) chair|pool lounge", "deck chair"),
    (r"ottoman", "lounge chair with a footrest"),
    (r"folding chair", "folding chair"),
    (r"child(ren)? chair", "children's chair"),
    (r"class seat", "school chair"),
    (r"armchair", "armchair"),
    (r"chair", "chair"),
    (r"puff", "bean bag"),
    (r"corner sofa|l.shaped sofa", "corner sofa"),
    (r"sofa|couch|futon couch", "sofa"),
    (r"bench|wood bank|little bank", "bench"),
    (r"bunk bed", "bunk bed"),
    (r"crib|baby bed", "crib"),
    (r"\bbed\b|futon", "bed"),
    (r"desk lamp", "desk lamp"),
    (r"(hanging|pendant|ceiling|chandelier).*(lamp|light)|(lamp|light).*(hanging|pendant)", "hanging lamp"),
    (r"street (lamp|light)|lamppost|park light", "street lamp"),
    (r"wall (light|lamp|spotlight)", "wall lamp"),
    (r"lantern", "lantern"),
    (r"lamp|light\b", "lamp"),
    (r"(pool|football|tennis) table|table tennis\b", "game table"),
    (r"bedside table", "bedside table"),
    (r"coffee table", "coffee table"),
    (r"round table", "round table"),
    (r"\bdesk\b", "desk"),
    (r"table\b", "table"),
    (r"bookcase|bookshel|shelves|shelving", "bookcase"),
    (r"wardrobe|cupboard", "wardrobe"),
    (r"cabinet|dresser|vanity", "cabinet"),
    (r"christmas tree", "christmas tree"),
    (r"\b(tree|palm|pine|poplar|acacia|cypress|maple|beech|coconut|ficus|bonsai)\b", "tree"),
    (r"hedge|bush", "bush"),
    (r"flower|tulip|lily|orchid|blossom", "flowers"),
    (r"plant\b|bamboo|yucca|spathiphyllum|cactus", "plant"),
    (r"radiator", "radiator"),
    (r"washbasin|basin|sink|lavatory", "washbasin"),
    (r"bath\b|bathtub|jacuzzi", "bathtub"),
    (r"toilets unit", "toilet"),
    (r"fridge|refrigerator|freezer", "fridge"),
    (r"oven|stove|cooker", "oven"),
    (r"sedan|seat leon|ford focus|chevrolet|suv\b|smart car|beetle|peugeot|scenic", "car"),
    (r"\bbus\b", "bus"),
    (r"truck|\bvan\b", "truck"),
    (r"bicycle|\bbike\b", "bicycle"),
    (r"yamaha|motorbike", "motorbike"),
    (r"\btv\b", "television"),
    (r"imac|ibook|laptop", "computer"),
    (r"speaker", "speaker"),
    (r"female|woman", "woman"),
    (r"male\b", "man"),
    (r"shoe|sneaker|mocassin|slipper|bootie", "shoes"),
)
"""Patterns of whole words, singular or plural, and the common words of what they match, in the order in which they
are tried."""
_SAYS_NOTHING = frozenset(
    "asset copy default file final free geometry glb gltf group lowpoly mesh model node obj object rigged root scene "
    "surface test textured untitled version".split()
)
SEATS = ("chair", "stool", "armchair")
USUAL_HEIGHTS = {"bar stool": 2.0, "stool": 1.1, "armchair": 1.15, "folding chair": 1.4}
WITH_LEGS = (*SEATS, "table", "desk", "sofa", "bench", "bed")


def describe(source: SourceObject, mesh: Mesh, seen: Appearance) -> Description:
    """Describe an object of the libraries."""
    kind = type_of(source)
    return Description(kind, captions(kind, seen, proportion(mesh, kind), second_part(seen, kind)))


def type_of(source: SourceObject) -> str:
    """Name what the object is: by the first rule that knows its name, tags or category, else by their words."""
    if source.kind:
        return source.kind
    told = [text for text in (source.name, *source.tags, source.category) if words_of(text)]
    # A helpful name has the word; of tags and category, one that a rule knows is better than an earlier one.
    known = (known_type(text, source) for text in (told[:1] if told[:1] == [source.name] else told))
    return next((kind for kind in known if kind), words_of(told[0]) if told else "object")


def words_of(text: str) -> str:
    """Return the words in ``text`` that may say what an object is, in lower case; "" if there are none."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    spaced = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", " ", plain).lower()
    words = re.sub(r"[^a-z' ]+", " ", re.sub(r"\blow[ _\-]?poly\b|3d|[_\-]", " ", spaced)).split()
    return " ".join(word for word in words if len(word) > 1 and word not in _SAYS_NOTHING)


def known_type(text: str, source: SourceObject) -> str | None:
    """Return the common word of the first rule that knows ``text``."""
    spoken = re.sub(r"[_\-]+", " ", text.lower())
    for pattern, kind in TYPES:
        whole = rf"\b(?:{pattern})(?:s|es)?\b"
        if re.search(whole, spoken) or re.search(whole, words_of(text)):
            if kind == "chair" and source.category == "Office":
                return "office chair"
            if kind == "stool" and (source.height or 0) >= 60:
                return "bar stool"
            return kind
    return None


def proportion(mesh: Mesh, kind: str) -> str | None:
    """Return a word for the object's proportions where they are unusual for its type."""
    width, depth, height = (float(v) for v in mesh.size)
    usual = USUAL_HEIGHTS.get(kind, 1.65 if kind.split()[-1] in SEATS else 1.0)
    slender = height / max(width, depth, 1e-6) / usual
    if slender > TALL:
        return "tall"
    if slender < 0.5 and kind.split()[-1] in WITH_LEGS:
        return "low"
    if kind.split()[-1] in ("chair", "armchair", "stool") and width > 1.25 * depth:
        return "wide"
    if kind.split()[-1] in ("chair", "armchair") and slender > 1.12 and width < 0.95 * depth:
        return "narrow"
    return None


def second_part(seen: Appearance, kind: str) -> str | None:
    """Name the part that bears the second colour: "with brown legs" below, "and brown" elsewhere."""
    if seen.second is None:
        return None
    words = " ".join(w for w in (seen.second, wording(seen.second_material, seen.second)) if w)
    is_seat = kind.split()[-1] in SEATS
    if is_seat and seen.second_height < 0.7 and (seen.second_spread < 0.1 or seen.second_material == "fabric"):
        return f"with {with_article(seen.second)} seat"
    if kind.split()[-1] in WITH_LEGS and seen.second_height < 0.36:
        return f"with {'a ' + words + ' base' if kind == 'office chair' else words + ' legs'}"
    if kind in ("lamp", "desk lamp") and seen.second_height > 0.6:
        return f"with {with_article(seen.second)} shade"
    if kind in ("plant", "flowers", "tree", "christmas tree") and seen.second_height < 0.3:
        return f"with {with_article(seen.second)} pot" if kind != "tree" else f"with {with_article(seen.second)} trunk"
    return f"and {seen.second}"
