"""Material files: options of maps, opacity, what emits light, tiled, huge and missing textures."""

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_data.files import Folder
from tunemv3d_data.meshes.mesh import Mesh, load_mesh
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.textures import MAX_SIDE
from tunemv3d_data.meshes.wavefront.mtl import Map, read_materials
from tunemv3d_data.notes import Note, collect
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.renderers.embree import EmbreeRenderer

SHEET = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl paint\nf 1/1 2/2 3/3 4/4\n"
RED, BLUE = (255, 0, 0), (0, 0, 255)


def sheet(folder: Path, material: str, shape: str = SHEET) -> tuple[Mesh, list[Note]]:
    (folder / "a.mtl").write_text("newmtl paint\n" + material)
    (folder / "a.obj").write_text("mtllib a.mtl\n" + shape)
    with collect() as notes:
        return load_mesh(SourceObject(id="x", path=folder / "a.obj")), notes


def halves(path: Path) -> None:
    """A picture whose left half is red and whose right half is blue."""
    pixels = np.full((4, 8, 3), RED, dtype=np.uint8)
    pixels[:, 4:] = BLUE
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("wood.png", Map("wood.png")),
        ("-s 2 3 1 wood.png", Map("wood.png", scale=(2, 3))),
        ("-s 2 wood.png", Map("wood.png", scale=(2, 1))),
        ("-o 0.5 0.25 -clamp on my wood.png", Map("my wood.png", offset=(0.5, 0.25), clamp=True)),
        ("-blendu off -bm 1 -texres 256 -O .5 wood.png", Map("wood.png", offset=(0.5, 0))),
        ("-clamp off 2nd wood.png", Map("2nd wood.png")),
        ('"C:\\my files\\wood.png"', Map("C:\\my files\\wood.png")),
        ("-wood.png", Map("-wood.png")),
    ],
)
def test_options_of_maps(statement: str, expected: Map) -> None:
    assert read_materials(f"newmtl a\n\tmap_Kd {statement}\n", "a.mtl")["a"].colour_map == expected


@pytest.mark.parametrize("option", ["-mm 0 2", "-t 1 1 1", "-cc on", "-imfchan r"])
def test_options_that_are_not_understood_are_noted(option: str) -> None:
    with collect() as notes:
        look = read_materials(f"newmtl a\nmap_Kd {option} wood.png\n", "a.mtl")["a"]
    assert look.colour_map == Map("wood.png")
    assert [note.kind for note in notes] == ["changed colours"] and option in notes[0].text


@pytest.mark.parametrize(
    ("option", "left", "right"),
    [("", RED, BLUE), ("-o 0.5 0 0 ", BLUE, RED), ("-s 0.5 1 1 ", RED, RED), ("-s 2 1 1 -clamp on ", RED, BLUE)],
)
def test_offset_scale_and_clamp_move_what_is_seen(
    tmp_path: Path, option: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    """uv times scale plus offset, as Blender and three.js read them; seen from the front, u from left to right."""
    halves(tmp_path / "halves.png")
    mesh, notes = sheet(tmp_path, f"map_Kd {option}halves.png\n")
    view = next(EmbreeRenderer(1)(mesh, Cameras.orbit(1, elevation=0.0), (48, 48)))
    columns = np.flatnonzero(view["rgba"][24, :, 3] == 255)
    seen = [view["albedo"][24, columns[at]] for at in (len(columns) // 8, -1 - len(columns) // 8)]
    ground = 24 + np.array([left, right]) * (231 / 255)
    assert np.abs(np.array(seen, dtype=float) - ground).max() < 30 and not notes


@pytest.mark.parametrize("line", ["Kd red", "Kd 1 0", "Kd nan 0 0", "d x", "Tr"])
def test_values_that_make_no_sense_are_noted(tmp_path: Path, line: str) -> None:
    _, notes = sheet(tmp_path, line + "\n")
    assert any("a.mtl" in note.text or "no colour" in note.text for note in notes)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("Kd 0 0 0\nKe 1 0.5 0\n", (1, 0.5, 0)),
        ("Kd 0 1 0\nmap_Ke halves.png\n", (0.5, 1, 0.5)),
        ("map_Kd halves.png\nKe 0 1 0\n", (0.5, 1, 0.5)),
    ],
)
def test_what_emits_light_shows_it(tmp_path: Path, lines: str, expected: tuple[float, ...]) -> None:
    halves(tmp_path / "halves.png")
    mesh, notes = sheet(tmp_path, lines)
    assert np.allclose(mesh.materials[0].colour, expected, atol=0.01) and not notes


def test_faces_without_texture_coordinates_have_the_mean_colour_and_a_note(tmp_path: Path) -> None:
    halves(tmp_path / "halves.png")
    mesh, notes = sheet(tmp_path, "map_Kd halves.png\n", SHEET + "f 1 2 3\n")
    plain = mesh.materials[mesh.material[-1]]
    assert plain.texture.shape == (1, 1, 4) and np.allclose(plain.colour, (0.5, 0, 0.5), atol=0.01)
    assert [note.kind for note in notes] == ["changed colours"]


def test_a_texture_of_two_materials_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halves(tmp_path / "halves.png")
    read: list[str] = []
    original = Neighbours.read
    monkeypatch.setattr(
        Neighbours, "read", lambda self, name, *kind: (read.append(name), original(self, name, *kind))[1]
    )
    sheet(tmp_path, "map_Kd halves.png\nnewmtl other\nmap_Kd halves.png\n", SHEET + "usemtl other\nf 1/1 2/2 3/3\n")
    assert read.count("halves.png") == 1


@pytest.mark.parametrize("name", ["<UDIM>", "<udim>", "1001"])
def test_tiles_are_put_together(tmp_path: Path, name: str) -> None:
    """Two squares, one in tile 1001 (red) and one in tile 1012 (blue), whose corners keep their colours."""
    for number, colour in ((1001, RED), (1012, BLUE)):
        pixels = np.full((8, 8, 3), colour, dtype=np.uint8)
        pixels[:4, :4] = (0, 255, 0)  # above, at the left
        Image.fromarray(pixels).save(tmp_path / f"wood.{number}.png")
    second = "vt 1 1\nvt 2 1\nvt 2 2\nvt 1 2\nf 1/5 2/6 3/7 4/8\n"
    mesh, notes = sheet(tmp_path, f"map_Kd wood.{name}.png\n", SHEET + second)
    texture = mesh.materials[0].texture
    size = np.array(texture.shape[1::-1])
    # A little within the corners (low left, high left) of both squares.
    for square, colour in ((0, RED), (1, BLUE)):
        corners = mesh.uv[2 * square : 2 * square + 2].reshape(-1, 2)
        low, high = corners.min(0), corners.max(0)
        for place, expected in (((0.1, 0.1), colour), ((0.1, 0.9), (0, 255, 0)), ((0.9, 0.9), colour)):
            u, v = (low + (high - low) * place) * size
            assert tuple(texture[size[1] - 1 - int(v), int(u), :3]) == expected
    assert not notes


def test_a_missing_tile_is_noted_and_grey(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "wood.1001.png")
    _, notes = sheet(tmp_path, "map_Kd wood.<UDIM>.png\n", SHEET + "vt 1.5 0.5\nvt 1.6 0.5\nvt 1.5 .6\nf 1/5 2/6 3/7\n")
    assert [(note.kind, note.text.split()[0]) for note in notes] == [("missing texture", "wood.1002.png")]


@pytest.mark.parametrize(("suffix", "mode"), [("png", "RGB"), ("png", "P"), ("jpg", "RGB"), ("png", "LA")])
def test_large_textures_are_scaled_down_and_noted(tmp_path: Path, suffix: str, mode: str) -> None:
    """Larger than any bound of Pillow's would allow; the left quarter stays as it was."""
    image = Image.new("RGB", (16_400, 128), BLUE)
    image.paste(RED, (0, 0, 4_100, 128))
    image.convert(mode).save(tmp_path / f"a.{suffix}")
    with collect() as notes:
        texture = Neighbours(Folder(tmp_path), "a.obj").texture(f"a.{suffix}")
    assert texture is not None and max(texture.shape) <= MAX_SIDE
    red, blue = ((76,) * 3, (29,) * 3) if mode == "LA" else (RED, BLUE)
    quarter = texture.shape[1] // 4
    assert np.abs(texture[:, : quarter - 2, :3].astype(int) - red).max() < 8
    assert np.abs(texture[:, quarter + 2 :, :3].astype(int) - blue).max() < 8
    assert [note.kind for note in notes] == ["texture scaled down"] and "16,400 x 128" in notes[0].text


MEASURED = """
import resource, sys
from pathlib import Path
from tunemv3d_data.files import Folder
from tunemv3d_data.meshes.neighbours import Neighbours
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
texture = Neighbours(Folder(Path(sys.argv[1])), "a.obj").texture("huge.png")
print(*texture.shape, texture[0, 0, 0], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
def test_a_texture_of_16384_pixels_takes_bounded_memory(tmp_path: Path) -> None:
    """Its own pixels, 4 bytes each, and little more."""
    side = 16_384

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    compress = zlib.compressobj(1)
    rows = b"".join(compress.compress(b"\0" + b"\x66" * (3 * side)) for _ in range(side)) + compress.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[:4] == ["4096", "4096", "4", "102"]
    assert float(said[4]) < 4 * side**2 / 2**20 + 400
