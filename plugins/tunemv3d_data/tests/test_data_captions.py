"""Captions name what is in the picture."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.captions.appearance import Appearance, measure
from tunemv3d_data.captions.rules import caption_rules
from tunemv3d_data.captions.wording import Describe, captions, describe, describe_pictures
from tunemv3d_data.colours import COLOURS, colour_name, colour_names
from tunemv3d_data.meshes.mesh import from_trimesh
from tunemv3d_data.meshes.recolour import repaint
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.renderers.embree import EmbreeRenderer
from tunemv3d_data.rendering.viewpoints import viewpoints
from tunemv3d_data.seeding import random_for


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


def described(scene: object, of: SourceObject, by: Describe = describe) -> tuple[str, ...]:
    mesh = from_trimesh(scene)
    cameras = viewpoints("seat", 6)
    views = list(EmbreeRenderer(1)(mesh, cameras, (48, 48)))
    return by(of, mesh, measure(views, cameras, mesh)).captions


def test_colours_parts_and_materials_are_those_of_the_mesh() -> None:
    found = described(seat((200, 30, 30), (110, 70, 40)), source())
    assert found[0] == "a red chair"
    assert any("red fabric chair" in caption for caption in found)
    assert "a red and brown chair" in found


@pytest.mark.parametrize("name", COLOURS)
def test_every_named_paint_is_named_so_after_shading(name: str) -> None:
    """What the recolouring paints, the caption reads off the lit pictures again."""
    mesh = repaint(from_trimesh(trimesh.creation.icosphere(3)), name, random_for(name))
    cameras = viewpoints(name, 4)
    views = list(EmbreeRenderer(1)(mesh, cameras, (32, 32)))
    assert measure(views, cameras, mesh).main == name
    solid = np.concatenate([view["rgba"][view["rgba"][..., 3] == 255] for view in views])
    assert colour_name(solid[:, :3].mean(0)) == name


def test_common_colours_have_their_common_names() -> None:
    known = {
        "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "orange": (255, 165, 0),
        "pink": (255, 192, 203), "purple": (128, 0, 128), "brown": (139, 69, 19), "light blue": (173, 216, 230),
        "white": (255, 255, 255), "grey": (128, 128, 128), "black": (0, 0, 0), "turquoise": (64, 224, 208),
    }  # fmt: skip
    assert {name: colour_name(rgb) for name, rgb in known.items()} == {name: name for name in known}
    assert [list(COLOURS)[i] for i in colour_names(np.uint8(list(known.values())))] == list(known)


def test_pictures_alone_give_colours_and_the_type_that_a_folder_names() -> None:
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[2:6, 2:6] = (*COLOURS["brown"], 255)
    assert describe_pictures([picture], "abc123def456abc123def456") == ("a brown object",)
    picture[5, 2:6] = (*COLOURS["blue"], 255)
    assert describe_pictures([picture, picture], "chair") == ("a brown chair", "a brown and blue chair")
    assert describe_pictures([np.zeros((4, 4, 4), np.uint8)]) == ("an object",)


def test_tall_is_said_where_clear() -> None:
    assert "a tall grey cabinet" in described(trimesh.creation.box((1, 1, 4)), source("Cabinet"))
    assert not any("tall" in c for c in described(trimesh.creation.box(), source("Box")))


def test_a_persons_colours_are_those_of_the_clothes() -> None:
    seen = Appearance("black", "grey", 0.5, 0.5, None, None, 0.2)
    assert captions("woman", seen) == ("a woman in black", "a woman", "a woman in black and grey")
    picture = np.full((4, 4, 4), 255, dtype=np.uint8)
    picture[..., :3] = COLOURS["brown"]
    assert describe_pictures([picture], "old man") == ("a man in brown", "a man")


def test_caption_rules_come_from_a_python_file(tmp_path: Path) -> None:
    file = tmp_path / "rules.py"
    file.write_text(
        "from tunemv3d_data.captions.wording import Description\n"
        "def describe(source, mesh, seen):\n"
        "    return Description('thing', (f'a {seen.main} thing called {source.name}',))\n"
    )
    assert described(trimesh.creation.box(), source("Box"), caption_rules(file)) == ("a grey thing called Box",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def describe(", "SyntaxError"),
        ("x = 1", r"no function describe"),
        (None, "rules"),
    ],
)
def test_a_file_without_rules_is_refused_by_name(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "rules.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(DatasetError, match=said) as refused:
        caption_rules(file)
    assert str(file) in str(refused.value)
