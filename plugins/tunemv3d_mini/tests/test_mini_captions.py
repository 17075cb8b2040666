"""Caption rules of the furniture libraries: types, parts and proportions."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import trimesh

from tunemv3d_core.io.caption_words import read_caption_words, words_in
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.captions.appearance import Appearance, measure
from tunemv3d_data.meshes.mesh import from_trimesh
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.renderers.embree import EmbreeRenderer
from tunemv3d_data.rendering.viewpoints import viewpoints
from tunemv3d_data.sources.selection import read_ids

RECIPE = Path(__file__).resolve().parents[1] / "recipe"
RULES = runpy.run_path(str(RECIPE / "sweethome_captions.py"))
type_of = RULES["type_of"]


def source(name: str = "Chair", **known: object) -> SourceObject:
    return SourceObject(id="x", path=Path("x"), name=name, **known)  # type: ignore[arg-type]


def seat(top: tuple[int, int, int], legs: tuple[int, int, int]) -> trimesh.Scene:
    """A back and seat on four posts, z up, two materials named as modellers name them."""
    upper = trimesh.util.concatenate(
        [
            trimesh.creation.box((1, 1, 0.2), trimesh.transformations.translation_matrix([0, 0, 0.6])),
            trimesh.creation.box((1, 0.2, 1), trimesh.transformations.translation_matrix([0, 0.4, 1.1])),
        ]
    )
    posts = trimesh.util.concatenate(
        [
            trimesh.creation.box((0.2, 0.2, 1.1), trimesh.transformations.translation_matrix([x, y, -0.05]))
            for x in (-0.4, 0.4)
            for y in (-0.4, 0.4)
        ]
    )
    for part, name, colour in ((upper, "red_fabric", top), (posts, "oak wood", legs)):
        material = trimesh.visual.material.SimpleMaterial(diffuse=(*colour, 255), name=name)
        part.visual = trimesh.visual.TextureVisuals(material=material, uv=np.zeros((len(part.vertices), 2)))
    return trimesh.Scene([upper, posts])


def described(scene: object, of: SourceObject) -> tuple[str, ...]:
    mesh = from_trimesh(scene)
    cameras = viewpoints("seat", 6)
    views = list(EmbreeRenderer(1)(mesh, cameras, (48, 48)))
    captions: tuple[str, ...] = RULES["describe"](of, mesh, measure(views, cameras, mesh)).captions
    return captions


def test_the_second_colour_is_that_of_a_part() -> None:
    found = described(seat((200, 30, 30), (110, 70, 40)), source())
    assert found[0] == "a red chair"
    assert any("red fabric chair" in caption for caption in found)
    assert any(caption.endswith("with brown wooden legs") for caption in found)


def test_types_come_from_the_catalogue() -> None:
    assert type_of(source("Chair", category="Office")) == "office chair"
    assert type_of(source("Stool", height=78.0)) == "bar stool" and type_of(source("Stool", height=45.0)) == "stool"
    assert type_of(source("Winchester armchair")) == "armchair"
    assert type_of(source("Corner sofa")) == "corner sofa" and type_of(source("Double couch")) == "sofa"
    assert type_of(source("Teddy bear")) == "teddy bear" and type_of(source("Bill 10€")) == "bill"
    assert type_of(source("Pine")) == "tree" and type_of(source("042")) == "object"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("OfficeChair_02", "chair"), ("sofa_3d_model", "sofa"), ("Low-Poly Tree", "tree"), ("iMac", "computer"),
        ("fire-truck (final)", "truck"), ("Teddy_Bear_v2", "teddy bear"), ("Female Holding", "woman"),
    ],
)  # fmt: skip
def test_rules_know_common_words(name: str, kind: str) -> None:
    assert type_of(source(name)) == kind


def test_a_tag_that_a_rule_knows_is_better_than_an_earlier_one() -> None:
    assert type_of(source("042", tags=("Cute", "Dining-Table"))) == "table"
    assert type_of(source("042", tags=("f3a9c2d1e0",), category="car")) == "car"
    assert type_of(source("Teddy bear", tags=("Chair",))) == "teddy bear"


@pytest.mark.parametrize("name", ["Adjustable", "Clamp", "Woven", "Portable", "Flashlight", "Workbench", "Steak"])
def test_rules_match_whole_words(name: str) -> None:
    assert type_of(source(name)) == name.lower()


def test_tall_and_low_are_said_where_clear() -> None:
    tower, slab = trimesh.creation.box((1, 1, 4)), trimesh.creation.box((2, 2, 0.4))
    assert any(caption.startswith("a tall ") for caption in described(tower, source("Cabinet")))
    assert any(caption.startswith("a low ") for caption in described(slab, source("Table")))
    assert not any("tall" in c or "low " in c for c in described(trimesh.creation.box(), source("Box")))


def test_people_are_described_by_their_clothes() -> None:
    ball, seen = from_trimesh(trimesh.creation.icosphere()), Appearance("black", "grey", 0.5, 0.5, None, None, 0.2)
    found = RULES["describe"](source("Female Holding"), ball, seen)
    assert found.type == "woman" and found.captions == ("a woman in black", "a woman", "a woman in black and grey")


@pytest.mark.parametrize("dataset", ["chairs", "furniture"])
def test_types_of_the_packaged_objects_are_those_of_the_rules(dataset: str) -> None:
    """The records keep each object's name; the rest needs the category (office chairs) or the height (bar stools)."""
    records = [read_object(folder) for folder in sorted((find_asset(dataset) / "objects").iterdir())]
    told = [(type_of(source(record.source.rpartition(": ")[2])), record.extra["type"]) for record in records]
    assert sum(ours == theirs for ours, theirs in told) >= 0.85 * len(told)


def test_lists_of_ids_are_those_of_the_packaged_datasets() -> None:
    chairs = set(read_ids(RECIPE / "chairs" / "chairs.txt"))
    assert chairs == set(read_manifest(find_asset("chairs")))
    built_in = set(read_ids(RECIPE / "furniture" / "built_in.txt"))
    assert len(built_in) == 37 and not built_in & set(read_manifest(find_asset("furniture")))


@pytest.mark.parametrize("dataset", ["chairs", "furniture"])
def test_the_priors_words_are_those_of_the_captions_that_it_was_trained_on(dataset: str) -> None:
    """The packaged training objects are among those that the prior saw; what it was never shown is not in the list."""
    known = read_caption_words(find_asset("sd-mini"))
    assert known is not None
    for id_, split in read_manifest(find_asset(dataset)).items():
        if split == "train":
            words = words_in(read_object(find_asset(dataset) / "objects" / id_).captions)
            assert all(known.get(word) for word in words), (id_, words)
    assert known["chair"] > 30 and known["truck"] == 4
    assert not {"excavator", "ambulance", "helicopter", "dragon", "airplane"} & known.keys()
