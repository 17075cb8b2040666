"""Collections in every layout become objects; what cannot be read is listed, and nothing outside a source is."""

import csv
import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_data.captions.csv_table import read_captions
from tunemv3d_data.captions.wording import type_of
from tunemv3d_data.meshes.mesh import load_mesh
from tunemv3d_data.objects import SourceObject, source_digest
from tunemv3d_data.sources.reading import read_sources
from tunemv3d_data.sources.selection import by_licence, opted_in

QUAD = "v -1 0 -1\nv 1 0 -1\nv 1 0 1\nv -1 0 1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
FACES = "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n"
RED, GREY = (0.8, 0.1, 0.1), (0.7, 0.7, 0.7)


def textured(folder: Path, texture: str, name: str = "sheet") -> Path:
    """A red OBJ whose material names ``texture``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.obj").write_text(f"mtllib {name}.mtl\n{QUAD}usemtl paint\n{FACES}")
    (folder / f"{name}.mtl").write_text(f"newmtl paint\nKd 0.8 0.1 0.1\nmap_Kd {texture}\n")
    return folder


def picture(path: Path, colour: tuple[int, int, int] = (0, 200, 0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def colour_of(source: SourceObject) -> list[float]:
    return [round(float(v), 1) for v in load_mesh(source).materials[0].colour]


def tower(front: tuple[float, float, float]) -> str:
    """An OBJ, y up and twice as high as wide, whose side towards ``front`` is at height 2, all else below."""
    box = trimesh.creation.box((1, 2, 1))
    nose = trimesh.creation.box((0.2, 0.2, 0.2))
    nose.apply_translation(np.asarray(front) * 0.6)
    return str(trimesh.util.concatenate([box, nose]).export(file_type="obj"))


def test_a_folder_with_files_of_all_kinds_loses_none(tmp_path: Path) -> None:
    for name in ("a.ply", "a.stl", "b/c.off", "b/c.glb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        trimesh.creation.box().export(tmp_path / name)
    (tmp_path / "scene.max").write_bytes(b"x")
    (tmp_path / "old.rar").write_bytes(b"x")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 cut off")
    for name in ("notes.txt", "notes.txt.gz", "pack.tar.gz", "box.obj.xz"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".hidden.obj").write_text("x")
    objects = {entry.id: entry.problem for entry in read_sources(tmp_path)}
    assert set(objects) == {"a-ply", "a-stl", "b-c-off", "b-c-glb", "scene", "old", "cut", "pack-tar", "box-obj"}
    assert [id_ for id_, problem in objects.items() if not problem] == ["a-ply", "a-stl", "b-c-glb", "b-c-off"]
    assert "GLB" in objects["scene"] and "unpack" in objects["old"] and "cut.zip" in objects["cut"]
    with pytest.raises(DatasetError, match=r"cut\.zip"):
        load_mesh(next(entry for entry in read_sources(tmp_path) if entry.id == "cut"))


def test_metadata_names_captions_and_credits(tmp_path: Path) -> None:
    for name in ("seat.ply", "seat.stl"):
        trimesh.creation.box().export(tmp_path / name)
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "name", "caption", "tags", "licence", "creator", "source"])
        rows.writerow(["seat.ply", "Oak chair", "an oak chair, old", "seat, wood", "CC BY-SA 4.0", "Ann", "my attic"])
        rows.writerow(["gone.obj", "", "", "", "", "", ""])
    seat, other, gone = read_sources(tmp_path)
    assert (seat.id, other.id, other.licence) == ("seat-ply", "seat-stl", "")
    assert (seat.name, seat.given, seat.tags) == ("Oak chair", ("an oak chair, old",), ("seat", "wood"))
    assert (seat.licence, seat.creator, seat.origin) == ("CC-BY-SA-4.0", "Ann", "my attic")
    assert "gone.obj" in gone.problem and "line 3" in gone.problem
    (tmp_path / "metadata.csv").write_text("file,license\nseat.ply,MIT\n")
    with pytest.raises(DatasetError, match="license"):
        read_sources(tmp_path)


def test_captions_of_others_are_taken_by_id(tmp_path: Path) -> None:
    for name in ("one.ply", "two.ply"):
        trimesh.creation.box().export(tmp_path / name)
    table = tmp_path / "cap3d.csv"
    table.write_text('one,"A box, grey"\none,a cube\nelsewhere,a thing\n')
    one, two = read_sources(tmp_path, captions=table)
    assert one.given == ("A box, grey", "a cube") and two.given == ()
    table.write_text("elsewhere,a thing\n")
    with pytest.raises(DatasetError, match="none of the objects"):
        read_sources(tmp_path, captions=table)


def shapenet(root: Path) -> Path:
    model = root / "03001627" / "1a2b" / "models"
    textured(model, "../images/texture0.jpg", "model_normalized")
    picture(root / "03001627" / "1a2b" / "images" / "texture0.jpg")
    (model / "model_normalized.json").write_text('{"id": "1a2b", "min": [0, 0, 0], "max": [1, 1, 1]}')
    (root / "03001627" / "empty" / "models").mkdir(parents=True)
    return root


def test_shapenet_folders_name_their_synset_and_find_their_textures(tmp_path: Path) -> None:
    whole, empty = read_sources(shapenet(tmp_path / "ShapeNetCore.v2"))
    assert (whole.id, whole.name, type_of(whole)) == ("03001627-1a2b", "chair", "chair")
    assert "non-commercial" in whole.licence
    assert colour_of(whole) == [0.0, 0.8, 0.0]
    assert "model_normalized.obj" in empty.problem
    taxonomy = [{"synsetId": "03001627", "name": "seat,chair", "children": [], "numInstances": 2}]
    (tmp_path / "ShapeNetCore.v2" / "taxonomy.json").write_text(json.dumps(taxonomy))
    whole = read_sources(tmp_path / "ShapeNetCore.v2" / "03001627")[0]
    assert (whole.name, whole.tags, whole.id) == ("seat", ("chair",), "03001627-1a2b")


def test_shapenet_zips_are_read_without_unpacking(tmp_path: Path) -> None:
    shapenet(tmp_path / "made")
    with zipfile.ZipFile(tmp_path / "03001627.zip", "w") as archive:
        for file in (tmp_path / "made").rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "made"))
    (source,) = read_sources(tmp_path / "03001627.zip")
    assert source.id == "03001627-1a2b" and colour_of(source) == [0.0, 0.8, 0.0]


def test_shapenet_faces_the_first_camera(tmp_path: Path) -> None:
    """Up is +y and the front -z; here the front must come to lie at -y, and up at +z."""
    model = tmp_path / "02691156" / "x" / "models"
    model.mkdir(parents=True)
    (model / "model_normalized.obj").write_text(tower((0, 0, -1)))
    corners = load_mesh(read_sources(tmp_path)[0]).triangles.reshape(-1, 3)
    nose = corners[np.abs(corners[:, 2]) < 0.2]
    assert nose[:, 1].min() < -nose[:, 1].max() - 0.05 and np.ptp(corners[:, 2]) > 1.5 * np.ptp(corners[:, 0])


@pytest.mark.parametrize(
    ("about", "front"), [({"up": [0, 1, 0], "front": [1, 0, 0]}, (1, 0, 0)), ({"up": "?", "front": 3}, (0, 0, -1))]
)
def test_shapenet_axes_are_taken_from_the_json_where_it_has_them(
    tmp_path: Path, about: dict[str, object], front: tuple[float, float, float]
) -> None:
    model = tmp_path / "02691156" / "x" / "models"
    model.mkdir(parents=True)
    (model / "model_normalized.obj").write_text(tower(front))
    (model / "model_normalized.json").write_text(json.dumps(about))
    corners = load_mesh(read_sources(tmp_path)[0]).triangles.reshape(-1, 3)
    nose = corners[np.abs(corners[:, 2]) < 0.2]
    assert nose[:, 1].min() < -nose[:, 1].max() - 0.05


def test_text2shapes_captions_are_taken_by_the_names_of_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As published for ShapeNet: ``id`` numbers the lines, and the synset's zero may be lost to a spreadsheet."""
    table = tmp_path / "captions.tablechair.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "modelId", "description", "category", "topLevelSynsetId", "subSynsetId"])
        rows.writerow([1, "1a2b", 'A "modern" chair, grey\nwith 4 legs', "Chair", "03001627", "03002210"])
        rows.writerow([2, "1a2b", "grey chair", "Chair", "3001627", ""])
        rows.writerow([3, "ffff", "a table", "Table", "04379243", ""])
    whole, empty = read_sources(shapenet(tmp_path / "ShapeNetCore.v2"), captions=table)
    assert whole.given == ('A "modern" chair, grey with 4 legs', "grey chair") and empty.given == ()
    assert "captions for 1 of 2 objects; 1 of its 2 ids are of no object here" in capsys.readouterr().err
    assert read_captions(table).of("1a2b") == whole.given  # SRN's renderings name the model alone


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"id,title\none,a cube\n", "hold no captions"), (b"file,caption\none,a cube\n", "hold no ids"),
        (b"one,a grey, old cube\n", "csv:1: expected 'id,caption'"), (b"one,caf\xe9 table\n", "not UTF-8"),
        (b'one,"a cube\ntwo,a ball\n', "no CSV"), (b"uid,caption,x\none,a cube\n", "csv:2: expected 3 columns"),
    ],
)  # fmt: skip
def test_a_table_of_captions_that_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        read_captions(tmp_path / "table.csv")


def test_tables_of_captions_may_be_in_utf_16_and_have_a_byte_order_mark(tmp_path: Path) -> None:
    text = 'UID,Caption,rank\none,"étagère, grey",1\n\none,shelf,2\none,shelf,3\n'
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "table.csv").write_bytes(text.encode(encoding))
        assert read_captions(tmp_path / "table.csv").of("one") == ("étagère, grey", "shelf")


def objaverse(root: Path) -> Path:
    uid = "00aa11bb"
    (root / "glbs" / "000-023").mkdir(parents=True)
    trimesh.creation.box().export(root / "glbs" / "000-023" / f"{uid}.glb")
    trimesh.creation.box().export(root / "glbs" / "000-023" / "unknown.glb")
    (root / "metadata").mkdir()
    known = {
        uid: {
            **{
                "uid": uid,
                "name": "Untitled 7",
                "license": "by-nc",
                "viewerUrl": "https://sketchfab.com/3d-models/00aa11bb",
            },
            **{"user": {"username": "ann", "displayName": "Ann"}, "tags": [{"name": "wood", "slug": "wood"}]},
            "categories": [{"name": "furniture-home"}],
        }
    }
    with gzip.open(root / "metadata" / "000-023.json.gz", "wt") as file:
        json.dump(known, file)
    with gzip.open(root / "lvis-annotations.json.gz", "wt") as file:
        json.dump({"coffee_table": [uid, "not downloaded"]}, file)
    with gzip.open(root / "object-paths.json.gz", "wt") as file:
        json.dump({uid: f"glbs/000-023/{uid}.glb", "other": "glbs/000-099/other.glb"}, file)
    return root


def test_objaverse_downloads_come_with_annotations(tmp_path: Path) -> None:
    objaverse(tmp_path / "hf-objaverse-v1")
    captions = tmp_path / "Cap3D.csv"
    captions.write_text("00aa11bb,A low table.\n99,No such.\n")
    known, unknown = read_sources(tmp_path, captions=captions)
    assert (known.licence, known.creator, known.tags) == ("CC-BY-NC-4.0", "Ann", ("wood",))
    assert (known.category, type_of(known), known.given) == ("furniture-home", "coffee table", ("A low table.",))
    assert "sketchfab.com" in known.origin and unknown.licence == ""
    kept, left_out = by_licence([known, unknown], "cc-by-nc, cc0")
    assert kept == [known] and left_out == {"": 1}
    with pytest.raises(DatasetError, match="CC-BY-NC"):
        by_licence([known, unknown], "cc-by")
    address = next(word for word in known.source.split() if "://" in word).rstrip(":")
    for entry in ("ANN", known.id, address, address.rpartition("/")[0] + "/"):
        assert opted_in([known, unknown], OptOut([entry])) == [unknown], entry
    with pytest.raises(DatasetError, match="covers every object"):
        opted_in([known], OptOut(["ann"]))
    path = tmp_path / "hf-objaverse-v1" / "metadata" / "000-023.json.gz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=r"000-023\.json\.gz.*again"):
        read_sources(tmp_path)


def test_zips_are_read_in_place(tmp_path: Path) -> None:
    folder = textured(tmp_path / "made" / "in", "wood.png")
    picture(folder / "wood.png")
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"in/{file.name}")
        archive.writestr("in/scene.blend", b"x")
        archive.writestr("__MACOSX/in/._sheet.obj", b"x")
    sheet, blend = read_sources(tmp_path / "pack.zip")
    assert sheet.id == "pack-in-sheet" and colour_of(sheet) == [0.0, 0.8, 0.0]
    assert "unpack" in blend.problem
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made", "pack.zip"]


def encrypted(path: Path) -> None:
    """Set the encryption bit of the only member, in its local header and in the directory."""
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_hostile_and_damaged_archives_say_what_is_wrong(tmp_path: Path) -> None:
    box = trimesh.creation.box().export(file_type="obj")
    for name in ("locked", "damaged"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("box.obj", box)
    encrypted(tmp_path / "locked.zip")
    content = bytearray((tmp_path / "damaged.zip").read_bytes())
    content[60] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("box.obj", b"\0" * (300 << 20))
    with zipfile.ZipFile(tmp_path / "leaves.zip", "w") as archive:
        archive.writestr("../../box.obj", box)
    problems = {}
    for entry in read_sources(tmp_path):
        with pytest.raises(DatasetError) as caught:
            load_mesh(entry)
        problems[entry.path.name] = str(caught.value)
    assert "encrypted" in problems["locked.zip"] and "damaged" in problems["damaged.zip"]
    assert "300 MiB" in problems["bomb.zip"] and "leaves the archive" in problems["leaves.zip"]


@pytest.mark.parametrize(
    "reference",
    [
        *("../secret/wood.png", "../../secret/wood.png", "{secret}", "file://{secret}", "http://example.org/wood.png"),
        *("link.png", "sub/../../secret/wood.png"),
    ],
)
def test_nothing_outside_the_source_is_read(
    tmp_path: Path, reference: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = picture(tmp_path / "secret" / "wood.png")
    folder = textured(tmp_path / "source", reference.format(secret=secret))
    (folder / "link.png").symlink_to(secret)
    opened_files: list[str] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened_files.append(str(path.resolve())) or read(path))
    assert colour_of(read_sources(folder)[0]) == [0.8, 0.1, 0.1]
    assert "missing, or lies outside" in caplog.text and str(secret) not in opened_files


@pytest.mark.parametrize(
    "reference", ["C:\\Users\\me\\Wood.PNG", "/home/me/wood.png", "-s 1 1 1 wood.png", "wood%2Epng"]
)
def test_references_of_other_machines_find_the_file_beside_the_mesh(tmp_path: Path, reference: str) -> None:
    folder = textured(tmp_path / "source", reference)
    picture(folder / "wood.png")
    assert colour_of(read_sources(folder)[0]) == [0.0, 0.8, 0.0]


def test_gltf_buffers_and_textures_stay_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    quad = trimesh.load(textured(tmp_path / "made", "wood.png") / "sheet.obj")
    picture(tmp_path / "secret.png")
    (tmp_path / "source").mkdir()
    for name, content in trimesh.Scene([quad]).export(file_type="gltf").items():
        (tmp_path / "source" / name).write_bytes(content)
    path = tmp_path / "source" / "model.gltf"
    header = json.loads(path.read_text())
    header["images"], header["textures"] = [{"uri": "../secret.png"}], [{"source": 0}]
    header["materials"] = [
        {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "baseColorFactor": [1, 0, 0, 1]}}
    ]
    header["meshes"][0]["primitives"][0]["material"] = 0
    path.write_text(json.dumps(header))
    source = read_sources(tmp_path / "source")[0]
    assert colour_of(source) == [1.0, 0.0, 0.0] and "secret.png" in caplog.text
    header["buffers"][0]["uri"] = "../../etc/passwd"
    path.write_text(json.dumps(header))
    with pytest.raises(DatasetError, match="passwd, which is missing or lies outside"):
        load_mesh(source)


def test_the_digest_changes_with_every_file_that_the_object_is_made_of(tmp_path: Path) -> None:
    folder = textured(tmp_path / "source", "wood.png")
    picture(folder / "wood.png")
    source = read_sources(folder)[0]
    first = source_digest(source)
    assert len(first) == 64 and source_digest(source) == first
    picture(folder / "wood.png", (1, 2, 3))
    second = source_digest(source)
    (folder / "sheet.mtl").write_text((folder / "sheet.mtl").read_text() + "# changed\n")
    third = source_digest(source)
    (folder / "other.png").write_bytes(b"x")
    assert len({first, second, third}) == 3 and source_digest(source) == third
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    assert source_digest(read_sources(tmp_path / "pack.zip")[0]) == third


def test_the_up_axis_can_be_told(tmp_path: Path) -> None:
    trimesh.creation.box((1, 1, 3)).export(tmp_path / "tall.stl")
    trimesh.creation.box((1, 3, 1)).export(tmp_path / "wide.obj")
    usual = [load_mesh(entry).size for entry in read_sources(tmp_path)]
    told = [load_mesh(entry).size for entry in read_sources(tmp_path, up="y")]
    assert [size.argmax() for size in usual] == [2, 2] and [size.argmax() for size in told] == [1, 2]


def test_files_of_blender_say_what_to_install_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scene.blend").write_bytes(b"BLENDER")
    monkeypatch.setattr("tunemv3d_data.meshes.mesh.find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="pip install"):
        load_mesh(read_sources(tmp_path)[0])
