"""Captions that say what one sees: type, colours, material, proportions, measured on the rendered pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_core.cameras import Cameras
from tunemv3d_data.captions.colours import COLOURS, colour_names
from tunemv3d_data.captions.names import words_of
from tunemv3d_data.meshes.mesh import Mesh
from tunemv3d_data.sources.objects import SourceObject

_TYPES: tuple[tuple[str, str], ...] = (
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
_MATERIALS = {
    "wooden": r"wood|oak|teak|teca|pine|walnut|madera|bois|holz|legno|mahogany|cherry|beech|bamboo|parquet",
    "leather": r"leather|cuir|cuero|pelle|leder",
    "metal": r"metal|chrome|steel|iron|alumin|inox|brass|copper",
    "fabric": r"fabric|textile|cloth|cotton|tissu|tessuto|velvet|linen|upholst",
    "plastic": r"plastic|plastique",
    "glass": r"glass|vidrio|vetro|verre",
    "rattan": r"rattan|wicker",
}
_SEATS = ("chair", "stool", "armchair")
_PEOPLE = ("woman", "man", "girl", "boy", "child", "baby", "person", "people")
_USUAL_HEIGHTS = {"bar stool": 2.0, "stool": 1.1, "armchair": 1.15, "folding chair": 1.4}
_WITH_LEGS = (*_SEATS, "table", "desk", "sofa", "bench", "bed")
SECOND_SHARE = 0.12
"""A further colour is named from this share of the visible surface on."""


@dataclass(frozen=True)
class Look:
    """What was measured on an object's pictures.

    Attributes:
        main: the colour with the largest visible share.
        second: the next one, None where it is too small to name.
        second_height: mean height of the second colour, 0 at the object's foot and 1 at its top.
        second_spread: standard deviation of these heights; small for a flat part such as a seat.
        material, second_material: words such as "wooden", or None where no name tells.
        cover: mean share of the picture that the object covers.
    """

    main: str
    second: str | None
    second_height: float
    second_spread: float
    material: str | None
    second_material: str | None
    cover: float


def measure(views: Sequence[dict[str, Any]], cameras: Cameras, mesh: Mesh, keep_names: bool = True) -> Look:
    """Measure colours, their places and materials over all views.

    Colours are those of the surface as lit on average: shading alone must not split one paint into two names.

    Args:
        views: as a mesh renderer yields them, with ``albedo`` and ``material``.
        cameras: theirs, shape ``(n,)``.
        mesh: the mesh seen.
        keep_names: False where materials were recoloured, so that an orange plank is not called wooden.
    """
    alpha = np.stack([view["rgba"][..., 3] for view in views])
    solid = alpha > 200
    cover = float(alpha.mean() / 255)
    if not solid.any():
        return Look("grey", None, 0.5, 1.0, None, None, cover)
    rgb = np.stack([view["rgba"][..., :3] for view in views])[solid].astype(np.float64)
    albedo = np.stack([view["albedo"] for view in views])[solid].astype(np.float64)
    material = np.stack([view["material"] for view in views])[solid]
    light = rgb.sum() / max(albedo.sum(), 1.0)
    names = colour_names(np.minimum(albedo * light, 255).astype(np.uint8))
    shares = np.bincount(names, minlength=len(COLOURS)) / len(names)
    main, second = (int(i) for i in np.argsort(-shares, kind="stable")[:2])
    words = [_material_word(m.name) if keep_names else None for m in mesh.materials]
    has_second = shares[second] >= SECOND_SHARE
    heights = _heights(views, cameras)[solid]
    return Look(
        main=list(COLOURS)[main],
        second=list(COLOURS)[second] if has_second else None,
        second_height=float(heights[names == second].mean()) if has_second else 0.5,
        second_spread=float(heights[names == second].std()) if has_second else 1.0,
        material=_commonest(words, material[names == main]),
        second_material=_commonest(words, material[names == second]) if has_second else None,
        cover=cover,
    )


def captions(source: SourceObject, mesh: Mesh, look: Look) -> list[str]:
    """Several captions, from the short one to the fullest, without repetition."""
    kind = type_of(source)
    if kind.split()[-1] in _PEOPLE:
        return _of_a_person(kind, look.main, look.second)
    size, material, part = _proportion(mesh, kind), _wording(look.material, look.main), _second_part(look, kind)
    short = f"{look.main} {kind}"
    found = [_article(short)]
    if material:
        found.append(_article(f"{look.main} {material} {kind}"))
    if size:
        found.append(_article(f"{size} {short}"))
    if part:
        found.append(_article(f"{short} {part}") if part.startswith("with") else _article(f"{look.main} {part} {kind}"))
    full = " ".join(word for word in (size, look.main, material, kind) if word)
    if part and part.startswith("with") and "with" not in kind:
        full += " " + part
    found.append(_article(full))
    return list(dict.fromkeys(found))


def _of_a_person(kind: str, main: str, second: str | None) -> list[str]:
    """Colours are those of the clothes: before "woman" or "man" they would be read as another thing."""
    found = [f"{_article(kind)} in {main}", _article(kind)]
    return found if second is None else [*found, f"{_article(kind)} in {main} and {second}"]


def type_of(source: SourceObject) -> str:
    """What the object is, in a common word: the collection's own, else from name, tags or category, else "object".

    A name that no rule knows is taken as it is, unless it is an identifier.
    """
    if source.kind:
        return source.kind
    told = [text for text in (source.name, *source.tags, source.category) if words_of(text)]
    # A helpful name has the word; of tags and category, one that a rule knows is better than an earlier one.
    known = (_known_type(text, source) for text in (told[:1] if told[:1] == [source.name] else told))
    return next((kind for kind in known if kind), words_of(told[0]) if told else "object")


def describe_pictures(pictures: Sequence[Any], name: str = "") -> list[str]:
    """Captions from pictures alone: the main colours and, where ``name`` tells it, the type.

    Args:
        pictures: each ``h w 4``, sRGB uint8.
        name: what a folder or a catalogue calls the object.
    """
    kind = type_of(SourceObject(id="", path=Path(), name=name))
    solid = np.concatenate([picture[picture[..., 3] > 200][:, :3] for picture in pictures])
    if not len(solid):
        return [_article(kind)]
    shares = np.bincount(colour_names(solid), minlength=len(COLOURS)) / len(solid)
    main, second = (int(index) for index in np.argsort(-shares, kind="stable")[:2])
    if kind.split()[-1] in _PEOPLE:
        other = list(COLOURS)[second] if shares[second] >= SECOND_SHARE else None
        return _of_a_person(kind, list(COLOURS)[main], other)
    found = [_article(f"{list(COLOURS)[main]} {kind}")]
    if shares[second] >= SECOND_SHARE:
        found.append(_article(f"{list(COLOURS)[main]} and {list(COLOURS)[second]} {kind}"))
    return found


def _known_type(text: str, source: SourceObject) -> str | None:
    """The common word of the first rule that knows ``text``."""
    spoken = re.sub(r"[_\-]+", " ", text.lower())
    for pattern, kind in _TYPES:
        if re.search(pattern, spoken) or re.search(pattern, words_of(text)):
            if kind == "chair" and source.category == "Office":
                return "office chair"
            if kind == "stool" and (source.height or 0) >= 60:
                return "bar stool"
            return kind
    return None


def _proportion(mesh: Mesh, kind: str) -> str | None:
    width, depth, height = (float(v) for v in mesh.size)
    usual = _USUAL_HEIGHTS.get(kind, 1.65 if kind.split()[-1] in _SEATS else 1.0)
    slender = height / max(width, depth, 1e-6) / usual
    if slender > 1.3:
        return "tall"
    if slender < 0.5 and kind.split()[-1] in _WITH_LEGS:
        return "low"
    if kind.split()[-1] in ("chair", "armchair", "stool") and width > 1.25 * depth:
        return "wide"
    if kind.split()[-1] in ("chair", "armchair") and slender > 1.12 and width < 0.95 * depth:
        return "narrow"
    return None


def _second_part(look: Look, kind: str) -> str | None:
    """How to name the second colour: "with brown legs" below, "and brown" elsewhere."""
    if look.second is None:
        return None
    words = " ".join(w for w in (look.second, _wording(look.second_material, look.second)) if w)
    is_seat = kind.split()[-1] in _SEATS
    if is_seat and look.second_height < 0.7 and (look.second_spread < 0.1 or look.second_material == "fabric"):
        return f"with {_article(look.second)} seat"
    if kind.split()[-1] in _WITH_LEGS and look.second_height < 0.36:
        return f"with {'a ' + words + ' base' if kind == 'office chair' else words + ' legs'}"
    if kind in ("lamp", "desk lamp") and look.second_height > 0.6:
        return f"with {_article(look.second)} shade"
    if kind in ("plant", "flowers", "tree", "christmas tree") and look.second_height < 0.3:
        return f"with {_article(look.second)} pot" if kind != "tree" else f"with {_article(look.second)} trunk"
    return f"and {look.second}"


def _wording(material: str | None, colour: str) -> str | None:
    """Wood is only called so where it has a colour of wood."""
    if material == "wooden" and colour not in ("brown", "beige", "orange", "white", "black", "grey"):
        return None
    return material


def _material_word(name: str) -> str | None:
    return next((word for word, pattern in _MATERIALS.items() if re.search(pattern, name, re.IGNORECASE)), None)


def _commonest(words: list[str | None], materials: Any) -> str | None:
    counts = np.bincount(materials, minlength=len(words))
    return words[int(counts.argmax())] if len(words) else None


def _heights(views: Sequence[dict[str, Any]], cameras: Cameras) -> Any:
    """Height of every pixel's surface point, 0 to 1 over the object, ``n h w``."""
    depth = np.stack([view["depth"] for view in views])
    rays = cameras.rays((depth.shape[1], depth.shape[2]))
    z = rays.origins[..., 2].numpy() + rays.directions[..., 2].numpy() * depth.reshape(len(depth), -1)
    z = z.reshape(depth.shape)
    seen = z[depth > 0]
    low, high = np.percentile(seen, [0.5, 99.5]) if len(seen) else (0.0, 1.0)
    return np.clip((z - low) / max(high - low, 1e-6), 0, 1)


def _article(words: str) -> str:
    if words.endswith(("flowers", "shoes")):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
