"""PLY, STL and OFF files written by hand after their formats' descriptions: textures, colours, traps, lost ends."""

import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.notes import Note, collect
from tunemv3d_data.objects import SourceObject

# A concave polygon of five corners, 10 of its square's 16, and a triangle on it.
POINTS = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [2, 1, 0], [0, 4, 0], [2, 0, 1]], dtype=np.float64)
FACES = [[2, 3, 4, 0, 1], [0, 1, 5]]
AREA = 10 + 2 * np.sqrt(1)


def read(path: Path, content: str | bytes) -> tuple[Mesh, list[Note]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with collect() as notes:
        return load_mesh(SourceObject(id="x", path=path)), notes


def area(mesh: Mesh) -> float:
    """In the units of ``POINTS``."""
    return float(mesh.areas().sum() * (4 / mesh.size[0]) ** 2)


def kinds(notes: list[Note]) -> set[str]:
    return {note.kind for note in notes}


def ply(form: str, vertex: str = "", face: str = "", values: str = "", of_face: str = "", comment: str = "") -> bytes:
    """``POINTS`` and ``FACES`` in one of the three forms.

    Args:
        form: "ascii", "<" or ">".
        vertex, face: further properties.
        values, of_face: their values for each vertex and face, as text; in binary forms bytes of type uchar.
    """
    name = {"ascii": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[form]
    head = f"ply\nformat {name} 1.0\n{comment}element vertex {len(POINTS)}\nproperty float x\nproperty float y\n"
    head += f"property float z\n{vertex}element face {len(FACES)}\nproperty list uchar int vertex_indices\n"
    head += f"{face}end_header\n"
    if form == "ascii":
        rows = [f"{x} {y} {z} {values}" for x, y, z in POINTS]
        rows += [f"{len(face)} {' '.join(map(str, face))} {of_face}" for face in FACES]
        return (head + "\n".join(rows)).encode()
    body = b"".join(struct.pack(f"{form}3f", *point) + bytes(map(int, values.split())) for point in POINTS)
    body += b"".join(struct.pack(f"{form}B{len(f)}i", len(f), *f) + bytes(map(int, of_face.split())) for f in FACES)
    return head.encode() + body


RGB = "property uchar red\nproperty uchar green\nproperty uchar blue\n"


@pytest.mark.parametrize("form", ["ascii", "<", ">"])
def test_ply_of_every_form_with_polygons_of_any_size(tmp_path: Path, form: str) -> None:
    mesh, notes = read(tmp_path / "a.ply", ply(form))
    assert area(mesh) == pytest.approx(AREA, rel=1e-5) and len(mesh.triangles) == 4
    assert kinds(notes) == {"untextured"}


@pytest.mark.parametrize("form", ["ascii", "<", ">"])
@pytest.mark.parametrize("where", ["vertex", "face"])
def test_ply_has_colours_of_vertices_or_faces(tmp_path: Path, form: str, where: str) -> None:
    given = {"vertex": RGB, "values": "255 51 0"} if where == "vertex" else {"face": RGB, "of_face": "255 51 0"}
    mesh, notes = read(tmp_path / "a.ply", ply(form, **given))
    assert np.allclose(mesh.materials[0].colour, (1, 0.2, 0), atol=0.003) and not notes
    assert area(mesh) == pytest.approx(AREA, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("float", "1.0 0.2 0"),
        ("uchar", "255 51 0"),
        ("ushort", "65535 13107 0"),
        ("int", "255 51 0"),
        ("double", "255 51 0"),
    ],
)
@pytest.mark.parametrize("names", ["red green blue", "diffuse_red diffuse_green diffuse_blue"])
def test_ply_colours_of_any_type(tmp_path: Path, kind: str, values: str, names: str) -> None:
    header = "".join(f"property {kind} {name}\n" for name in names.split())
    mesh, notes = read(tmp_path / "a.ply", ply("ascii", vertex=header, values=values))
    assert np.allclose(mesh.materials[0].colour, (1, 0.2, 0), atol=0.003) and not notes


@pytest.mark.parametrize("way", ["vertices", "corners", "missing"])
def test_ply_has_textures(tmp_path: Path, way: str) -> None:
    """Tile u < 0.5 is red: the coordinates of all corners lie there."""
    pixels = np.full((4, 8, 3), (0, 0, 255), dtype=np.uint8)
    pixels[:, :4] = (255, 0, 0)
    if way != "missing":
        Image.fromarray(pixels).save(tmp_path / "my wood.png")
    comment = "comment TextureFile my wood.png\n"
    if way == "corners":
        content = ply("ascii", face="property list uchar float texcoord\n", comment=comment).decode()
        rows = content.split("\n")
        rows[-2:] = [
            f"{row} {2 * len(face)}{' 0.2 0.5' * len(face)}" for row, face in zip(rows[-2:], FACES, strict=True)
        ]
        content = "\n".join(rows)
    else:
        uv = "property float s\nproperty float t\n" + RGB
        content = ply("ascii", vertex=uv, values="0.2 0.5 0 255 0", comment=comment).decode()
    mesh, notes = read(tmp_path / "a.ply", content)
    if way == "missing":
        assert np.allclose(mesh.materials[0].colour, (0, 1, 0)) and kinds(notes) == {"missing texture"}
        return
    assert np.allclose(mesh.uv, (0.2, 0.5)) and mesh.materials[0].texture.shape == (4, 8, 4)
    assert kinds(notes) == ({"changed colours"} if way == "vertices" else set())


def test_ply_strips_as_stanford_wrote_them(tmp_path: Path) -> None:
    head = "ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    points = "0 0 0\n1 0 0\n0 1 0\n1 1 0\n2 0 0\n"
    mesh, _ = read(tmp_path / "a.ply", head + points + "8 0 1 2 3 -1 1 4 3\n")
    expected = trimesh.Trimesh(
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [2, 0, 0]], [[0, 1, 2], [1, 3, 2], [1, 4, 3]]
    )
    assert mesh.areas().sum() * (2 / mesh.size[0]) ** 2 == pytest.approx(expected.area)
    crossed = np.cross(mesh.triangles[:, 1] - mesh.triangles[:, 0], mesh.triangles[:, 2] - mesh.triangles[:, 0])
    assert len(crossed) == 3 and (crossed[:, 2] > 0).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ply("ascii")[:-9], "cut off"),
        (ply("<")[:-9], "cut off"),
        (ply("<")[:200], "cut off"),
        (ply("ascii").replace(b"element face 2", b"element face 0"), "cloud of 6 points"),
        (ply("ascii").replace(b"2.0 1.0", b"2,0 1,0"), "line 13: '2,0' has a decimal comma"),
        (ply("ascii").replace(b"int vertex", b"decimal vertex"), "no known type"),
        (ply("ascii").replace(b"format ascii", b"format utf8"), "format"),
        (ply("ascii").replace(b"5 2 3 4 0 1", b"5 2 3 4 0 7"), "lacks its vertex 7"),
        (b"ply\nend_header\n", "format"),
    ],
)
def test_ply_that_makes_no_sense(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        read(tmp_path / "a.ply", content)


def test_splats_are_no_meshes(tmp_path: Path) -> None:
    extra = "".join(f"property float {name}\n" for name in ("f_dc_0", "scale_0", "rot_0"))
    content = ply("ascii", vertex=extra, values="0 0 0")
    with pytest.raises(DatasetError, match="Gaussians"):
        read(tmp_path / "a.ply", content)


FACETS = POINTS[[[0, 1, 3], [0, 1, 5]]]
STL_TEXT = "solid thing\n"
for facet in FACETS:
    STL_TEXT += "facet normal 0 0 1\n outer loop\n"
    STL_TEXT += "".join("  vertex {} {} {}\n".format(*point) for point in facet)
    STL_TEXT += " endloop\nendfacet\n"


def stl_binary(header: bytes = b"made by hand", attribute: int = 0, count: int = 2) -> bytes:
    facets = b"".join(struct.pack("<12fH", 0, 0, 1, *facet.reshape(-1), attribute) for facet in FACETS)
    return header.ljust(80, b" ") + struct.pack("<I", count) + facets


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (STL_TEXT + "endsolid thing\n", {"untextured"}),
        (STL_TEXT.upper().replace("\n", "\r\n") + "ENDSOLID\r\n", {"untextured"}),
        (STL_TEXT, {"untextured"}),
        (stl_binary(), {"untextured"}),
        (stl_binary(b"solid as text begins"), {"untextured"}),
        (stl_binary(b"solid facet normal vertex"), {"untextured"}),
        (stl_binary(attribute=0x801F), {"untextured", "changed colours"}),
        (stl_binary(b"COLOR=\xff\0\0\xff"), {"untextured", "changed colours"}),
        (stl_binary() + b"\0" * 7, {"untextured", "other"}),
    ],
)
def test_stl_of_both_forms(tmp_path: Path, content: str | bytes, expected: set[str]) -> None:
    mesh, notes = read(tmp_path / "a.stl", content)
    assert area(mesh) == pytest.approx(4, rel=1e-5) and kinds(notes) == expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (stl_binary(count=3), "cut off: it says that it has 3 triangles, and 2"),
        (STL_TEXT[:-60], "cut off|corners"),
        (STL_TEXT.replace("vertex 4.0", "vertex 4,0"), "line 5: '4,0' has a decimal comma"),
        (STL_TEXT.replace(" endloop", "  vertex 9 9 9\n endloop"), "4 corners"),
        ("solid x\nendsolid x\n", "no triangles"),
        (b"\0\1\2", "too short"),
    ],
)
def test_stl_that_makes_no_sense(tmp_path: Path, content: str | bytes, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        read(tmp_path / "a.stl", content)


def off(header: str = "OFF", counts: str = "6 2 0", vertex: str = "", face: str = "") -> str:
    rows = ["{} {} {}".format(*point) + vertex for point in POINTS]
    return "\n".join([header, counts, *rows, *(f"{len(f)} {' '.join(map(str, f))}{face}" for f in FACES)]) + "\n"


@pytest.mark.parametrize(
    "content",
    [
        off(),
        off().replace("OFF\n", "OFF "),
        off().replace("OFF\n", ""),
        off(counts="6 2"),
        off().replace("OFF", "# made by hand\n\nOFF # here").replace("6 2 0", "# counts\n6 2 0 # edges unknown\n"),
        off().replace("\n", "\r\n"),
        off("NOFF", vertex=" 0 -0.6 0.8"),
    ],
)
def test_off_as_it_is_written(tmp_path: Path, content: str) -> None:
    mesh, notes = read(tmp_path / "a.off", content)
    assert area(mesh) == pytest.approx(AREA, rel=1e-5) and kinds(notes) == {"untextured"}


@pytest.mark.parametrize(
    "content",
    [
        off("COFF", vertex=" 255 51 0 255"),
        off("COFF", vertex=" 1.0 0.2 0.0 1.0"),
        off(vertex=" 255 51 0"),
        off(face=" 255 51 0"),
        off(face=" 1.0 0.2 0.0 1.0"),
        off("CNOFF", vertex=" 0 -0.6 0.8 255 51 0 255"),
    ],
)
def test_off_has_colours_of_vertices_or_faces(tmp_path: Path, content: str) -> None:
    mesh, notes = read(tmp_path / "a.off", content)
    assert np.allclose(mesh.materials[0].colour, (1, 0.2, 0), atol=0.003) and not notes


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (off().replace("3 0 1 5", ""), "cut off"),
        (off().replace("3 0 1 5", "4 0 1 5"), "line 10: a face says that it has 4 corners, and lists 3"),
        (off().replace("3 0 1 5", "3 0 1 6"), "lacks its vertex 6"),
        (off().replace("3 0 1 5", "3 0 1 x"), "line 10: 'x' is no number"),
        (off().replace("2.0 1.0", "2,0 1.0"), "line 6: '2,0' has a decimal comma"),
        (off("4OFF", vertex=" 1"), "three dimensions"),
        (off("COFF"), "COFF"),
        ("OFF BINARY\n\0\0", "binary OFF"),
        (off(counts="999999999999 2 0"), "cut off"),
        (off(counts="6 0 0").split("\n3 ")[0], "cloud"),
    ],
)
def test_off_that_makes_no_sense(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        read(tmp_path / "a.off", content)


@pytest.mark.parametrize("suffix", ["ply", "stl", "off"])
def test_fuzzed_files_are_read_or_refused_in_words(tmp_path: Path, suffix: str) -> None:
    random = np.random.default_rng(0)
    wholes = {
        "ply": [ply("ascii"), ply("<"), ply(">")],
        "stl": [STL_TEXT.encode(), stl_binary()],
        "off": [off().encode()],
    }
    reasons = set()
    for number in range(240):
        content = bytearray(wholes[suffix][number % len(wholes[suffix])])
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(content)))
            content[at : at + random.integers(3)] = bytes(random.integers(256, size=random.integers(3), dtype=np.uint8))
        try:
            read(tmp_path / f"a.{suffix}", bytes(content))
        except DatasetError as error:
            reasons.add(str(error))
    assert len(reasons) > 5
    assert not [reason for reason in reasons if "Error" in reason or "cannot be read" in reason]
