"""Sizes of meshes: units against their definitions, things of prompts, and scaled vertices."""

import numpy as np
import pytest

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.real_size import as_large_as, parse_length, thing_of, wanted_height
from tunemv3d_core.slots import TexturedMesh


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("0.45m", 0.45),
        ("45 cm", 0.45),
        ("450mm", 0.45),
        ("18in", 0.4572),
        ("1.5ft", 0.4572),
        (".5 M", 0.5),
        ("2m", 2.0),
    ],
)
def test_lengths(text: str, metres: float) -> None:
    assert parse_length(text) == pytest.approx(metres)


@pytest.mark.parametrize("text", ["0.45", "m", "-1m", "0m", "1e9m", "nan m", "3 yards", "1,5m", "45cmm"])
def test_what_is_no_length_is_refused(text: str) -> None:
    with pytest.raises(TuneMV3DError, match="a height with its unit is expected"):
        parse_length(text)


@pytest.mark.parametrize(
    ("prompt", "thing"),
    [
        ("a red office chair", "office chair"),
        ("a chair", "chair"),
        ("two wooden Chairs with a table", "chair"),
        ("a lamp on a desk", "lamp"),
        ("a coffee table lamp", "table lamp"),
        ("a wooden bar stool", "bar stool"),
        ("a vegetable", None),
        ("an adjustable thing", None),
        ("", None),
    ],
)
def test_the_thing_that_a_prompt_names(prompt: str, thing: str | None) -> None:
    assert thing_of(prompt) == thing


def mesh() -> TexturedMesh:
    vertices = np.array([[0, 0, -0.9], [0.5, 0, 0.9], [0, 1, 0]], dtype=np.float32)
    corners, white = np.arange(3, dtype=np.int32), np.zeros((2, 2, 3), np.uint8)
    return TexturedMesh(vertices, corners[None], vertices, white[0], vertices[:, :2], corners, corners[None], white)


def test_a_mesh_gets_its_height() -> None:
    made = as_large_as(mesh(), wanted_height("a stool", "18in"))
    assert np.ptp(made.vertices[:, 2]) == pytest.approx(0.4572) and made.figures["height"] == pytest.approx(0.4572)
    np.testing.assert_allclose(made.vertices, mesh().vertices * 0.4572 / 1.8, rtol=1e-6)
    assert made.vertices.dtype == np.float32 and made.normals is not None
    typical = wanted_height("a red office chair")
    assert typical is not None and 0.8 < typical.metres < 1.3 and typical.reason == "typical of 'office chair'"
    for height in (wanted_height("a red office chair", "none"), wanted_height("a thingummy")):
        assert height is None and as_large_as(mesh(), height).figures["height"] == pytest.approx(1.8)
