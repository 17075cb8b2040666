"""OBJ and MTL files as people's programs write them; shapes and colours are compared with what the format says."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.notes import Note, collect
from tunemv3d_data.objects import SourceObject

INPUTS = Path(__file__).parent / "inputs" / "meshes"
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
SQUARE = "v 0 0 0\nv 4 0 0\nv 4 4 0\nv 0 4 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
SHEET = SQUARE + "usemtl paint\nf 1/1 2/2 3/3 4/4\n"


def read(path: Path, content: str | bytes | None = None) -> tuple[Mesh, list[Note]]:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with collect() as notes:
        return load_mesh(SourceObject(id="x", path=path)), notes


def share_of_extent(mesh: Mesh) -> float:
    """A flat mesh's area as a share of the square around it."""
    return float(mesh.areas().sum() / np.sort(mesh.size)[-1] ** 2)


def kinds(notes: list[Note]) -> set[str]:
    return {note.kind for note in notes}


def test_relative_indices_in_blocks_are_the_same_boxes() -> None:
    negative, positive = (read(INPUTS / f"{name}.obj")[0] for name in ("negative", "positive"))
    assert np.array_equal(negative.triangles, positive.triangles)
    boxes = 3 * 6 * (0.9 / np.linalg.norm([1.5, 1.5, 0.5])) ** 2  # three unit boxes within 3 x 3 x 1
    assert negative.areas().sum() == pytest.approx(boxes, rel=1e-5) == pytest.approx(3.07, abs=0.01)
    assert np.allclose(np.sort(negative.size), (0.41, 1.24, 1.24), atol=0.01)


def test_a_concave_polygon_keeps_its_notch() -> None:
    mesh, notes = read(INPUTS / "concave3.obj")
    # The shoelace formula gives 10 for the polygon in its square of 16.
    assert share_of_extent(mesh) == pytest.approx(10 / 16, abs=1e-6)
    assert mesh.areas().sum() == pytest.approx(1.01, abs=0.01)
    assert len(mesh.triangles) == 3 and "changed shape" not in kinds(notes)


def test_every_library_is_read() -> None:
    mesh, notes = read(INPUTS / "two_mtllib.obj")
    assert [tuple(material.texture[0, 0, :3]) for material in mesh.materials] == [(255, 0, 0), (0, 0, 255)]
    assert not notes


def test_a_polygon_with_a_hole_and_its_seam(tmp_path: Path) -> None:
    """A square of 4 x 4 with a hole of 2 x 2, joined by a seam that is walked twice."""
    hole = "v 1 1 0\nv 1 3 0\nv 3 3 0\nv 3 1 0\n"
    mesh, _ = read(tmp_path / "a.obj", SQUARE + hole + "f 1 2 3 4 1 5 6 7 8 5\n")
    assert share_of_extent(mesh) == pytest.approx(12 / 16, abs=1e-6)
    centres = mesh.triangles.mean(1)
    assert (np.abs(centres).max(1) > mesh.size.max() / 8).all()


def test_a_polygon_that_crosses_itself_is_noted(tmp_path: Path) -> None:
    star = "".join(f"v {np.cos(a):.5f} {np.sin(a):.5f} 0\n" for a in 4 * np.pi * np.arange(5) / 5)
    mesh, notes = read(tmp_path / "a.obj", star + "f 1 2 3 4 5\n")
    assert len(mesh.triangles) == 3 and "changed shape" in kinds(notes)


DIRTY = {
    "comments": "v 0 0 0 # first\nv 1 0 0#second\nv 0 1 0\nf 1 2 3 # all\n",
    "continued lines": "v 0 0 \\\n 0\nv 1 0 0\nv 0 1 0\nf 1 \\\n 2 \\\n 3\n",
    "a comment with a backslash": "# C:\\models\\\n" + TRIANGLE + "f 1 2 3\n",
    "tabs and spaces": "  v\t0  0 0 \nv 1 0 0\n\tv 0 1 0\n  f  1  2  3  \n",
    "Windows": TRIANGLE.replace("\n", "\r\n") + "f 1 2 3\r\n",
    "old Mac": TRIANGLE.replace("\n", "\r") + "f 1 2 3\r",
    "no last line end": TRIANGLE + "f 1 2 3",
    "weights": "v 0 0 0 1\nv 1 0 0 1\nv 0 1 0\nf 1 2 3\n",
    "empty texture coordinates": TRIANGLE + "f 1// 2// 3//\n",
    "mixed corners": TRIANGLE + "vt 0 0\nvn 0 0 1\nf 1/1/1 2//1 3\n",
    "texture coordinates that are not there": TRIANGLE + "f 1/1 2/2 3/3\n",
    "faces before vertices": "f 1 2 3\n" + TRIANGLE,
    "the old word for a face": TRIANGLE + "fo 1 2 3\n",
    "relative and not": TRIANGLE + "f 1 -2 3\n",
    "numbers that are none, unused": TRIANGLE + "v 1.#IND nan 0\nf 1 2 3\n",
}


@pytest.mark.parametrize("content", DIRTY.values(), ids=DIRTY.keys())
def test_untidy_files_hold_the_same_triangle(tmp_path: Path, content: str) -> None:
    expected, _ = read(tmp_path / "tidy.obj", TRIANGLE + "f 1 2 3\n")
    assert np.array_equal(read(tmp_path / "a.obj", content)[0].triangles, expected.triangles)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "utf-8"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """The material's name has an umlaut in both files, and is found."""
    (tmp_path / "a.mtl").write_bytes("newmtl grün\nKd 0 1 0\n".encode(encoding))
    mesh, notes = read(tmp_path / "a.obj", f"mtllib a.mtl\n{TRIANGLE}usemtl grün\nf 1 2 3\n".encode(encoding))
    assert np.allclose(mesh.materials[0].colour, (0, 1, 0)) and not notes


REFUSED = {
    "v 0,5 0 0\n" + TRIANGLE + "f 1 2 3\n": "line 1: '0,5' has a decimal comma",
    TRIANGLE + "f 1 2 x\n": "line 4: 'x' is no corner",
    TRIANGLE + "f 1 2 3.5\n": "line 4: '3.5' is no corner",
    TRIANGLE + "f 1 2 4\n": "line 4: a face lacks its vertex 4; the file has 3",
    TRIANGLE + "f 1 2 0\n": "line 4: a face lacks its vertex 0",
    TRIANGLE + "f -1 -2 -4\n": "line 4: a face counts back to before the first vertex",
    TRIANGLE + f"f 1 2 {'9' * 30}\n": "line 4.*lacks its vertex",
    "v 0 0\n" + TRIANGLE + "f 1 2 3\n": "line 1: 3 numbers are needed, and there are 2",
    "v 0 zero 0\n" + TRIANGLE + "f 1 2 3\n": "line 1: 'zero' is no number",
    TRIANGLE: "cloud of 3 points",
    TRIANGLE + "l 1 2 3\np 1\n": "1 line and 1 point; convert",
    TRIANGLE + "f 1 2\n": "no triangles",
    "<html>\n<body>\nnot found\n": "is no OBJ file: line 1",
    "cstype bezier\nsurf 0 1 0 1 1 2 3\n": "1 free-form surface; convert",
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.items())
def test_what_makes_no_sense_is_refused_with_its_line(tmp_path: Path, content: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=reason):
        read(tmp_path / "a.obj", content)


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ("l 1 2\n", "no surface"),
        ("f 1 2\n", "no surface"),
        ("hello\n", "other"),
        ("#MRGB ffff\n", "changed colours"),
        ("usemtl gone\nf 1 2 3\n", "missing file"),
        ("mtllib gone.mtl\n", "missing file"),
    ],
)
def test_what_is_left_out_is_noted(tmp_path: Path, extra: str, kind: str) -> None:
    mesh, notes = read(tmp_path / "a.obj", TRIANGLE + "f 1 2 3\n" + extra)
    assert kind in kinds(notes) and np.allclose(mesh.materials[0].colour, 0.7, atol=0.01)


def test_fuzzed_files_are_read_or_refused_in_words(tmp_path: Path) -> None:
    """Bytes of a small file changed, cut out or doubled: no exception's name is ever a reason."""
    random = np.random.default_rng(0)
    (tmp_path / "a.mtl").write_text("newmtl paint\nKd 1 0 0\n")
    whole = ("mtllib a.mtl\n" + SHEET + "vn 0 0 1\nf 1/1/1 2/2/1 3/3/1\n").encode()
    reasons = set()
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            at = int(random.integers(len(content)))
            change = random.integers(3)
            content[at : at + int(change == 1) * 5 + 1] = (
                bytes([random.integers(256)]),
                b"",
                bytes(content[at : at + 1]) * 2,
            )[change]
        try:
            read(tmp_path / "a.obj", bytes(content))
        except DatasetError as error:
            reasons.add(str(error))
    assert len(reasons) > 10
    assert not [reason for reason in reasons if "Error" in reason or "cannot be read" in reason]


def test_a_library_of_another_name_is_found_and_noted(tmp_path: Path) -> None:
    """A pair of files that was renamed: the OBJ still names the old library."""
    (tmp_path / "chair.mtl").write_text("newmtl paint\nKd 1 0 0\n")
    mesh, notes = read(tmp_path / "chair.obj", "mtllib untitled.mtl\n" + SHEET)
    assert np.allclose(mesh.materials[0].colour, (1, 0, 0))
    assert any("untitled.mtl" in note.text and "chair.mtl is read instead" in note.text for note in notes)


@pytest.mark.parametrize(
    ("statement", "files"),
    [
        ("mtllib one.mtl two.mtl", ("one", "two")),
        ("mtllib my paint.mtl", ("my paint",)),
        ("mtllib A\\ONE.MTL", ("one",)),
    ],
)
def test_names_of_libraries(tmp_path: Path, statement: str, files: tuple[str, ...]) -> None:
    for name in files:
        (tmp_path / f"{name}.mtl").write_text(
            "newmtl other\n" if name == "one" and len(files) > 1 else "newmtl paint\nKd 1 0 0\n"
        )
    assert np.allclose(read(tmp_path / "a.obj", f"{statement}\n{SHEET}")[0].materials[0].colour, (1, 0, 0))


def test_files_that_were_joined_keep_their_own_materials(tmp_path: Path) -> None:
    for name, colour in (("one", "1 0 0"), ("two", "0 0 1")):
        (tmp_path / f"{name}.mtl").write_text(f"newmtl paint\nKd {colour}\n")
    second = "mtllib two.mtl\nusemtl paint\nf 1 3 4\n"
    mesh, _ = read(tmp_path / "a.obj", f"mtllib one.mtl\n{SQUARE}usemtl paint\nf 1 2 3\n{second}")
    assert [tuple(mesh.materials[index].texture[0, 0, :3]) for index in mesh.material] == [(255, 0, 0), (0, 0, 255)]


def test_names_with_a_hash_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "a.mtl").write_text("newmtl Material #25\nKd 1 0 0\n")
    mesh, notes = read(tmp_path / "a.obj", f"mtllib a.mtl\n{TRIANGLE}usemtl Material #25\nf 1 2 3\n")
    assert np.allclose(mesh.materials[0].colour, (1, 0, 0)) and not notes


@pytest.mark.parametrize(("largest", "extra"), [(1.0, ""), (255, ""), (1.0, " 0.5")])
def test_colours_of_vertices_show_beside_texture_coordinates(tmp_path: Path, largest: float, extra: str) -> None:
    red = f"{largest} 0 0{extra}"
    content = f"v 0 0 0 {red}\nv 1 0 0 {red}\nv 0 1 0 {red}\nvt 0 0\nf 1/1 2/1 3/1\n"
    mesh, notes = read(tmp_path / "a.obj", content)
    assert np.allclose(mesh.materials[0].colour, (1, 0, 0)) and mesh.colours is None and not notes


def test_colours_of_vertices_are_srgb_and_white_where_there_are_none(tmp_path: Path) -> None:
    mesh, _ = read(tmp_path / "a.obj", "v 0 0 0 0.5 0.5 0.5\nv 1 0 0 0 0 0\nv 0 1 0\nf 1 2 3\n")
    assert mesh.colours is not None
    base = mesh.materials[0].colour[0]
    linear = ((base + 0.055) / 1.055) ** 2.4 * mesh.colours[0, :, 0]
    assert np.allclose(linear, (((0.5 + 0.055) / 1.055) ** 2.4, 0, 1), atol=0.01)


@pytest.mark.parametrize("colour", ["1 1 1", "0.2 0.4 0.6"])
def test_a_texture_hides_colours_of_vertices(tmp_path: Path, colour: str) -> None:
    Image.new("RGB", (4, 4), (0, 0, 255)).save(tmp_path / "blue.png")
    (tmp_path / "a.mtl").write_text("newmtl paint\nmap_Kd blue.png\n")
    content = "mtllib a.mtl\n" + SHEET.replace(" 0\nv", f" 0 {colour}\nv")
    mesh, notes = read(tmp_path / "a.obj", content)
    assert np.allclose(mesh.materials[0].colour, (0, 0, 1)) and mesh.colours is None
    assert ("changed colours" in kinds(notes)) == (colour != "1 1 1")


def test_normals_of_the_file_are_kept_and_unusable_ones_are_not(tmp_path: Path) -> None:
    tilted = "vn 0 0.6 0.8\nvn 0 0 1\nvn 1 0 0\nvn 0 0 0\nvn nan 0 1\n"
    faces = "f 1//1 2//1 3//1\nf 1//3 3//4 4//5\n"
    mesh, notes = read(tmp_path / "a.obj", SQUARE + tilted + faces)
    assert np.allclose(np.abs(mesh.normals[0]), (0, 0.8, 0.6), atol=1e-6)  # z up
    assert np.allclose(np.abs(mesh.normals[1]), (0, 1, 0), atol=1e-6)
    assert "no normals" in kinds(notes)


def test_archives_give_libraries_and_textures_too(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (0, 0, 255)).save(tmp_path / "blue.png")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("m/a.obj", "mtllib a.mtl\n" + SHEET)
        archive.writestr("m/a.mtl", "newmtl paint\nmap_Kd textures\\BLUE.png\n")
        archive.write(tmp_path / "blue.png", "m/textures/blue.png")
    with collect() as notes:
        mesh = load_mesh(SourceObject(id="x", path=tmp_path / "a.zip", member="m/a.obj"))
    assert np.allclose(mesh.materials[0].colour, (0, 0, 1)) and not notes
