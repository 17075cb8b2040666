"""Surfaces in glTF: which colour, from which picture, where, and what shows of it; in both of our renderers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gltf_files import QUAD, UV, Gltf, painted
from PIL import Image, features

from tunemv3d_core.cameras import Cameras
from tunemv3d_data.meshes.mesh import RADIUS, Mesh
from tunemv3d_data.notes import collect
from tunemv3d_data.renderers import auto
from tunemv3d_data.renderers.light import FLAT
from tunemv3d_data.rendering.one_object import build_renderer

RED, GREEN, BLUE, GREY = (200, 20, 30), (20, 180, 40), (30, 40, 210), (90, 90, 90)
SQUARES = np.uint8([[RED, GREEN], [BLUE, GREY]]).repeat(8, 0).repeat(8, 1)
"""Red, green above; blue, grey below."""


@pytest.fixture(params=["embree", "moderngl"])
def renderer(request: pytest.FixtureRequest) -> Any:
    if request.param == "moderngl" and (why := auto.why_not_moderngl()):
        pytest.skip(f"no OpenGL: {why}")
    return build_renderer(request.param)


def linear(value: Any) -> Any:
    value = np.asarray(value, dtype=np.float64)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def srgb(value: Any) -> Any:
    value = np.asarray(value, dtype=np.float64)
    return np.where(value <= 0.0031308, value * 12.92, 1.055 * value ** (1 / 2.4) - 0.055)


def seen(renderer: Any, mesh: Mesh, places: Any) -> Any:
    """Colours, 0 to 255, and coverage at places of a square in x and y of -1 to 1, which lies in y = 0."""
    camera = Cameras.orbit(1, elevation=0.0)
    (view,) = renderer(mesh, camera, (128, 128), FLAT)
    points = np.array([[x, 0, y] for x, y in places]) * RADIUS / np.sqrt(2)
    where, _ = camera[0].project(torch.from_numpy(points).float())
    column, row = (where.numpy() * 128).astype(int).T
    return np.rint((view["albedo"][row, column].astype(float) - 24) * 255 / 231), view["rgba"][row, column, 3]


PLACES = ((-0.5, 0.5), (0.5, 0.5), (-0.5, -0.5), (0.5, -0.5))


def shows(renderer: Any, mesh: Mesh, expected: Any, most: float = 2.0) -> None:
    """The four quarters of a square have four colours; None for nothing there."""
    colours, alpha = seen(renderer, mesh, PLACES)
    for colour, cover, wanted in zip(colours, alpha, expected, strict=True):
        assert cover == (0 if wanted is None else 255)
        assert wanted is None or np.abs(colour - wanted).max() <= most, (colours, expected)


def test_a_picture_lies_as_its_coordinates_say(renderer: Any, tmp_path: Path) -> None:
    gltf = Gltf()
    shows(renderer, painted(gltf, {"index": gltf.picture(SQUARES)}).load(tmp_path), (RED, GREEN, BLUE, GREY))


def moved(u: float, v: float, **transform: Any) -> Any:
    """KHR_texture_transform of its specification, on one place."""
    offset, scale = transform.get("offset", (0, 0)), transform.get("scale", (1, 1))
    turn = transform.get("rotation", 0.0)
    u, v = u * scale[0], v * scale[1]
    return np.cos(turn) * u + np.sin(turn) * v + offset[0], -np.sin(turn) * u + np.cos(turn) * v + offset[1]


@pytest.mark.parametrize(
    "transform",
    [
        {"offset": [0.5, 0.0]},
        {"scale": [2.0, 0.5], "offset": [0.1, 0.25]},
        {"rotation": 0.5},
        {"rotation": np.pi / 2, "offset": [0.0, 0.3], "scale": [0.5, 1.5]},
    ],
)
def test_texture_transforms_move_coordinates(renderer: Any, tmp_path: Path, transform: dict[str, Any]) -> None:
    gltf = Gltf()
    info = {"index": gltf.picture(SQUARES, magFilter=9728), "extensions": {"KHR_texture_transform": transform}}
    mesh = painted(gltf, info).load(tmp_path)
    rng = np.random.default_rng(0)
    places, expected = [], []
    for x, y in rng.uniform(-0.9, 0.9, (60, 2)):
        u, v = moved((x + 1) / 2, (1 - y) / 2, **transform)
        if min(abs(2 * w - round(2 * w)) for w in (u, v)) > 0.15:  # not at a border of two colours
            places.append((x, y))
            expected.append(SQUARES[int(v % 1 * 16), int(u % 1 * 16)])
    colours, _ = seen(renderer, mesh, places)
    assert len(places) > 20 and np.abs(colours - np.array(expected)).max() < 3


def test_other_sets_of_coordinates_and_the_transforms_choice_of_one(renderer: Any, tmp_path: Path) -> None:
    turned = UV[:, ::-1].copy()
    for info in ({"texCoord": 1}, {"texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 1}}}):
        gltf = Gltf()
        made = painted(gltf, {"index": gltf.picture(SQUARES), **info}, {"TEXCOORD_1": turned})
        shows(renderer, made.load(tmp_path), (RED, BLUE, GREEN, GREY))


def test_coordinates_that_are_missing_leave_the_mean_colour_and_a_note(tmp_path: Path) -> None:
    gltf = Gltf()
    made = painted(gltf, {"index": gltf.picture(SQUARES), "texCoord": 3})
    with collect() as heard:
        mesh = made.load(tmp_path)
    assert np.allclose(mesh.materials[0].colour * 255, SQUARES.mean((0, 1)), atol=1)
    assert [note.kind for note in heard] == ["untextured"]


WRAPS = {33071: "clamp", 33648: "mirror", 10497: "repeat"}


def wrapped(place: float, wrap: str) -> float:
    if wrap == "clamp":
        return min(max(place, 0.001), 0.999)
    return place % 1 if wrap == "repeat" else 1 - abs(place % 2 - 1)


@pytest.mark.parametrize("along_u", WRAPS)
@pytest.mark.parametrize("along_v", WRAPS)
def test_pictures_repeat_stop_or_mirror(renderer: Any, tmp_path: Path, along_u: int, along_v: int) -> None:
    gltf = Gltf()
    attributes = {"TEXCOORD_0": UV * 5 - 2.2}
    made = painted(gltf, {"index": gltf.picture(SQUARES, wrapS=along_u, wrapT=along_v)}, attributes)
    places, expected = [], []
    for x, y in np.random.default_rng(0).uniform(-0.95, 0.95, (80, 2)):
        u, v = (x + 1) / 2 * 5 - 2.2, (1 - y) / 2 * 5 - 2.2
        if min(abs(2 * w - round(2 * w)) for w in (u, v)) > 0.2:
            places.append((x, y))
            u, v = wrapped(u, WRAPS[along_u]), wrapped(v, WRAPS[along_v])
            expected.append(SQUARES[int(v * 16), int(u * 16)])
    colours, _ = seen(renderer, made.load(tmp_path), places)
    assert len(places) > 15 and np.abs(colours - np.array(expected)).max() < 3


def test_the_border_of_a_mirror_has_no_seam_and_that_of_a_repetition_has(renderer: Any, tmp_path: Path) -> None:
    ramp = np.linspace(20, 235, 8).round()[None, :, None].repeat(3, 2).repeat(2, 0)
    for wrap, expected in ((33648, 235.0), (33071, 235.0), (10497, (235 + 20) / 2)):
        gltf = Gltf()
        gltf_uv = UV * [2, 1]
        made = painted(gltf, {"index": gltf.picture(ramp, wrapS=wrap)}, {"TEXCOORD_0": np.float32(gltf_uv)})
        colours, _ = seen(renderer, made.load(tmp_path), [(0.0, 0.0)])
        assert abs(colours[0, 0] - expected) < 30, wrap


def test_the_nearest_texel_where_a_sampler_asks_for_it(renderer: Any, tmp_path: Path) -> None:
    black_and_white = np.uint8([[[0] * 3, [255] * 3]])
    for filter_, values in ((9729, [64, 191]), (9728, [0, 255])):
        gltf = Gltf()
        made = painted(gltf, {"index": gltf.picture(black_and_white, magFilter=filter_, wrapS=33071)})
        colours, _ = seen(renderer, made.load(tmp_path), [(-0.25, 0.0), (0.25, 0.0)])
        assert np.abs(colours[:, 0] - values).max() < 8


@pytest.mark.parametrize("kind", ["f4", "u1", "u2"])
def test_colours_of_corners_are_linear_and_multiply_the_texture(renderer: Any, tmp_path: Path, kind: str) -> None:
    factors = np.array([[1, 0.5, 0.25], [1, 0.5, 0.25], [0.2, 0.6, 1], [0.2, 0.6, 1]])
    gltf = Gltf()
    most = 1 if kind == "f4" else np.iinfo(kind).max
    colours = gltf.array((factors * most).round(6 if kind == "f4" else 0).astype(kind), normalized=kind != "f4")
    made = painted(gltf, {"index": gltf.picture(SQUARES)}, {"COLOR_0": colours}, baseColorFactor=[1, 0.5, 1, 1])
    expected = []
    for (_, y), square in zip(PLACES, (RED, GREEN, BLUE, GREY), strict=True):
        mixed = factors[0] + (factors[2] - factors[0]) * (y + 1) / 2
        expected.append(255 * srgb(linear(np.array(square) / 255) * mixed * [1, 0.5, 1]))
    shows(renderer, made.load(tmp_path), expected, 3.5)


def test_colours_of_corners_without_a_texture(renderer: Any, tmp_path: Path) -> None:
    factors = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    gltf = Gltf()
    gltf.mesh(attributes={"COLOR_0": factors})
    mesh = gltf.load(tmp_path)
    assert np.allclose(linear(mesh.materials[0].colour), factors[[0, 1, 2, 0, 2, 3]].mean(0), atol=0.005)
    u, v = 0.75, 0.25
    # the lower right corner's triangle 0 1 2, at (0.5, -0.5): a + (b - a) u + (c - b) v
    expected = factors[0] + (factors[1] - factors[0]) * u + (factors[2] - factors[1]) * v
    colours, _ = seen(renderer, mesh, [(0.5, -0.5)])
    assert np.abs(colours[0] - 255 * srgb(expected)).max() < 6


@pytest.mark.parametrize(
    ("mode", "cutoff", "is_seen"),
    [("OPAQUE", 0.5, True), ("MASK", 0.5, False), ("MASK", 0.3, True), ("MASK", 0.32, False), ("BLEND", 0.5, False)],
)
def test_alpha_of_texture_factor_and_corners_is_one_product(
    renderer: Any, tmp_path: Path, mode: str, cutoff: float, is_seen: bool
) -> None:
    """0.8 x 0.8 x 0.48 = 0.307."""
    gltf = Gltf()
    half = gltf.picture(np.full((4, 4, 4), (*GREEN, 204)))
    made = painted(
        gltf,
        {"index": half},
        {"COLOR_0": np.float32([[1, 1, 1, 0.48]] * 4)},
        baseColorFactor=[1, 1, 1, 0.8],
        alphaMode=mode,
        alphaCutoff=cutoff,
    )
    made.mesh(QUAD - np.float32([0, 0, 0.01]), material=made.material(pbrMetallicRoughness={}))
    colours, _ = seen(renderer, made.load(tmp_path), PLACES)
    assert np.abs(colours - (GREEN if is_seen else (255, 255, 255))).max() < 3


def test_what_is_seen_through_counts_not_in_the_bounds(tmp_path: Path) -> None:
    """A wake behind a boat: clear by its factor, by its picture, or by its corners."""
    alone = Gltf()
    alone.mesh()
    expected = np.sort(alone.load(tmp_path).triangles.reshape(-1, 3), axis=0)
    clear = np.zeros((16, 16, 4), dtype=np.uint8)
    far = QUAD + np.float32([40, 0, 0])
    for kind in ("factor", "picture", "corners"):
        gltf = Gltf()
        look: dict[str, Any] = {"alphaMode": "BLEND", "pbrMetallicRoughness": {}}
        attributes: dict[str, Any] = {"TEXCOORD_0": UV}
        if kind == "factor":
            look["pbrMetallicRoughness"]["baseColorFactor"] = [1, 1, 1, 0]
        elif kind == "picture":
            look["pbrMetallicRoughness"]["baseColorTexture"] = {"index": gltf.picture(clear)}
        else:
            attributes["COLOR_0"] = np.float32([[1, 1, 1, 0.1]] * 4)
        gltf.mesh()
        gltf.mesh(far, attributes=attributes, material=gltf.material(**look))
        triangles = gltf.load(tmp_path).triangles[:2]
        assert np.allclose(np.sort(triangles.reshape(-1, 3), axis=0), expected, atol=1e-6), kind


def test_a_leaf_on_a_large_clear_card_is_what_is_centred(tmp_path: Path) -> None:
    card = np.zeros((64, 64, 4), dtype=np.uint8)
    card[8:16, 40:56] = (*GREEN, 255)
    gltf = Gltf()
    mesh = painted(gltf, {"index": gltf.picture(card)}, alphaMode="MASK").load(tmp_path)
    low, high = mesh.triangles.reshape(-1, 3).min(0), mesh.triangles.reshape(-1, 3).max(0)
    side = high[0] - low[0]
    leaf = (
        np.array([low[0] + side * 40 / 64, low[0] + side * 56 / 64]),
        np.array([high[2] - side * 16 / 64, high[2] - side * 8 / 64]),
    )
    assert abs(leaf[0].mean()) < 0.02 and abs(leaf[1].mean()) < 0.02
    assert np.hypot(*(np.ptp(part) / 2 for part in leaf)) == pytest.approx(RADIUS, rel=0.05)
    varied = mesh.stretched((1.0, 1.0, 1.0))
    assert np.allclose(varied.triangles, mesh.triangles, atol=0.02)


@pytest.mark.parametrize(("mode", "alpha"), [("BLEND", 0.0), ("MASK", 0.25)])
def test_a_surface_that_shows_nothing_is_refused(tmp_path: Path, mode: str, alpha: float) -> None:
    gltf = Gltf()
    painted(gltf, baseColorFactor=[1, 1, 1, alpha], alphaMode=mode)
    with pytest.raises(Exception, match="all of it is see-through"):
        gltf.load(tmp_path)


@pytest.mark.parametrize("strength", [1.0, 3.0])
def test_emission_adds_to_the_base_colour_in_linear_light(renderer: Any, tmp_path: Path, strength: float) -> None:
    gltf = Gltf()
    glow = np.uint8([[[0] * 3, [0, 0, 188]]]).repeat(8, 0).repeat(8, 1)
    made = painted(
        gltf,
        {"index": gltf.picture(SQUARES)},
        emissiveTexture={"index": gltf.picture(glow)},
        emissiveFactor=[1.0, 1.0, 0.5],
        extensions={"KHR_materials_emissive_strength": {"emissiveStrength": strength}},
    )
    light = linear(188 / 255) * 0.5 * strength * np.array([0, 0, 1])
    expected = [
        255 * srgb(np.minimum(linear(np.array(colour) / 255) + light * (x > 0), 1))
        for (x, _), colour in zip(PLACES, (RED, GREEN, BLUE, GREY), strict=True)
    ]
    shows(renderer, made.load(tmp_path), expected, 3)


def test_emission_that_lies_otherwise_is_its_mean_and_a_note(tmp_path: Path) -> None:
    gltf = Gltf()
    light = {"index": gltf.picture(np.full((4, 4, 3), (0, 0, 99))), "texCoord": 1}
    made = painted(gltf, {"index": gltf.picture(np.zeros((4, 4, 3)))}, emissiveTexture=light, emissiveFactor=[1, 1, 1])
    with collect() as heard:
        mesh = made.load(tmp_path)
    assert np.abs(mesh.materials[0].colour * 255 - (0, 0, 99)).max() < 1.5
    assert [note.kind for note in heard] == ["changed colours"]


GLOSSY = "KHR_materials_pbrSpecularGlossiness"


@pytest.mark.parametrize(
    ("physical", "expected"),
    [
        ({"baseColorFactor": [0.2, 0.4, 0.6, 1]}, [0.2, 0.4, 0.6]),
        ({"metallicFactor": 0}, [0.5, 0.1, 0.9]),
        ({}, [0.5, 0.1, 0.9]),
    ],
)
def test_of_two_models_metallic_roughness_counts_and_the_older_ones_diffuse_colour_else(
    tmp_path: Path, physical: dict[str, Any], expected: Any
) -> None:
    gltf = Gltf()
    older = {GLOSSY: {"diffuseFactor": [0.5, 0.1, 0.9, 1], "specularFactor": [1, 1, 1], "glossinessFactor": 0.9}}
    gltf.mesh(material=gltf.material(pbrMetallicRoughness=physical, extensions=older))
    assert np.abs(gltf.load(tmp_path).materials[0].colour - srgb(expected)).max() < 0.003


def test_unlit_materials_show_their_base_colour_alone(tmp_path: Path) -> None:
    gltf = Gltf()
    painted(gltf, baseColorFactor=[0.2, 0.2, 0.2, 1], emissiveFactor=[1, 0, 0], extensions={"KHR_materials_unlit": {}})
    gltf.header["extensionsRequired"] = ["KHR_materials_unlit"]
    assert np.allclose(gltf.load(tmp_path).materials[0].colour, srgb(0.2), atol=0.003)


def test_variants_show_the_default_material(tmp_path: Path) -> None:
    gltf = Gltf()
    red, blue = (gltf.material(pbrMetallicRoughness={"baseColorFactor": c}) for c in ([1, 0, 0, 1], [0, 0, 1, 1]))
    choices = {"KHR_materials_variants": {"mappings": [{"material": blue, "variants": [0]}]}}
    gltf.mesh(material=red, extensions=choices)
    gltf.header["extensions"] = {"KHR_materials_variants": {"variants": [{"name": "blue"}]}}
    assert np.allclose(gltf.load(tmp_path).materials[0].colour, (1, 0, 0))


@pytest.mark.parametrize("sides", [{}, {"doubleSided": True}])
@pytest.mark.parametrize("mirror", [1, -1])
def test_backs_are_seen_where_the_material_says_so(
    renderer: Any, tmp_path: Path, sides: dict[str, Any], mirror: int
) -> None:
    """The square faces +z in the file, which is -y, where azimuth 0 looks from, in ours."""
    gltf = Gltf()
    gltf.mesh(material=gltf.material(**sides), node={"scale": [mirror, 1, 1]})
    gltf.header["nodes"][0]["scale"] = [mirror, 1, 1]
    front, back = renderer(gltf.load(tmp_path), Cameras.orbit(2, elevation=0.0), (32, 32), FLAT)
    assert (front["rgba"][12:20, 12:20, 3] == 255).all()
    assert (back["rgba"][..., 3].max() > 0) == bool(sides)


@pytest.mark.parametrize(("format_", "extension"), [("WEBP", "EXT_texture_webp"), ("AVIF", "EXT_texture_avif")])
def test_pictures_of_newer_formats(tmp_path: Path, format_: str, extension: str) -> None:
    if not features.check(format_.lower()):
        pytest.skip(f"this Pillow has no {format_}")
    gltf = Gltf()
    texture = gltf.picture(np.full((16, 16, 3), GREEN), format_)
    entry = gltf.header["textures"][texture]
    entry["extensions"] = {extension: {"source": entry.pop("source")}}
    gltf.header["extensionsRequired"] = [extension]
    assert np.abs(painted(gltf, {"index": texture}).load(tmp_path).materials[0].colour * 255 - GREEN).max() < 4


@pytest.mark.parametrize(
    ("mime", "entry"),
    [
        ("image/avif", {"extensions": {"EXT_texture_avif": {"source": 0}}}),
        ("image/ktx2", {"extensions": {"KHR_texture_basisu": {"source": 0}}}),
        ("image/ktx2", {"source": 0}),
        ("image/png", {"source": 0}),
        ("image/png", {}),
    ],
)
def test_pictures_that_cannot_be_shown_leave_the_colour_and_a_note(
    tmp_path: Path, mime: str, entry: dict[str, Any]
) -> None:
    gltf = Gltf()
    gltf.add("images", bufferView=gltf.view(b"no picture at all, but bytes"), mimeType=mime)
    made = painted(gltf, {"index": gltf.add("textures", **entry)}, baseColorFactor=[1, 0, 0, 1])
    made.header["extensionsRequired"] = list(entry.get("extensions", ()))
    with collect() as heard:
        mesh = made.load(tmp_path)
    assert np.allclose(mesh.materials[0].colour, (1, 0, 0))
    assert [note.kind for note in heard] == ["unreadable texture"]


def test_a_picture_that_is_read_is_taken_before_one_that_is_not(tmp_path: Path) -> None:
    gltf = Gltf()
    texture = gltf.picture(np.full((4, 4, 3), GREEN))
    gltf.header["textures"][texture]["extensions"] = {"KHR_texture_basisu": {"source": 5}}
    with collect() as heard:
        mesh = painted(gltf, {"index": texture}).load(tmp_path)
    assert np.abs(mesh.materials[0].colour * 255 - GREEN).max() < 1 and not heard


@pytest.mark.parametrize(
    ("name", "is_noted"),
    [
        ("KHR_materials_transmission", True),
        ("KHR_materials_sheen", True),
        ("KHR_materials_clearcoat", False),
        ("KHR_materials_specular", False),
        ("ACME_paint", True),
    ],
)
def test_materials_say_what_they_lose(tmp_path: Path, name: str, is_noted: bool) -> None:
    gltf = Gltf()
    painted(gltf, baseColorFactor=[1, 0, 0, 1], extensions={name: {"someFactor": 1}})
    with collect() as heard:
        gltf.load(tmp_path)
    assert [note.text.split()[0] for note in heard] == ([name] if is_noted else [])


@pytest.mark.parametrize("name", [" leading  and inner spaces.png", "100%.png", "a%20b.png"])
def test_pictures_beside_the_file_have_names_of_any_kind(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (4, 4), GREEN).save(tmp_path / name.replace("%20", " "))
    gltf = Gltf()
    texture = gltf.add("textures", source=gltf.add("images", uri=name))
    mesh = painted(gltf, {"index": texture}).load(tmp_path)
    assert np.abs(mesh.materials[0].colour * 255 - GREEN).max() < 1
