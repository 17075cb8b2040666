"""Shapes in glTF: numbers in every encoding, strips and fans, scenes, joints, morph targets, and what is refused."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from gltf_files import FACES, QUAD, UV, Gltf, reason

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.files import Folder
from tunemv3d_data.meshes.gltf.read import read_gltf
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.parts import Part
from tunemv3d_data.notes import collect

HOUSE = np.float32([[-1, -0.5, 0], [1, -0.5, 0], [1, 0.5, 0.25], [-1, 0.5, 0.25], [0, 1, 0.5]])
ROOF = np.uint8([0, 1, 2, 0, 2, 3, 3, 2, 4])


def parts(gltf: Gltf) -> list[Part]:
    """The parts as they lie in the file."""
    return read_gltf(gltf.glb(), Neighbours(Folder(Path("/nowhere")), "made.glb"), 1000)


def corners(gltf: Gltf) -> Any:
    """The only part's corners."""
    (part,) = parts(gltf)
    return part.triangles


@pytest.mark.parametrize(("kind", "one"), [("i1", 127), ("u1", 255), ("i2", 32767), ("u2", 65535)])
@pytest.mark.parametrize("is_normalised", [True, False])
def test_integers_are_numbers_and_normalised_ones_are_divided(kind: str, one: int, is_normalised: bool) -> None:
    """KHR_mesh_quantization's positions and texture coordinates; glTF 2.0, 3.6.2.2."""
    stored = np.array([[0, 0, 0], [one, 0, 0], [0, one, 0]], dtype=kind)
    places = np.array([[0, 0], [one, 0], [0, one]], dtype=kind)
    gltf = Gltf()
    attributes = {"TEXCOORD_0": gltf.array(places, normalized=is_normalised)}
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": gltf.picture(np.zeros((2, 2, 3)))}}}
    gltf.mesh(gltf.array(stored, normalized=is_normalised), None, attributes=attributes, material=gltf.material(**look))
    gltf.header["extensionsRequired"] = ["KHR_mesh_quantization"]
    (part,) = parts(gltf)
    divisor = one if is_normalised else 1
    assert np.allclose(part.triangles[0], stored / divisor)
    expected = places / divisor
    assert part.uv is not None and np.allclose(part.uv[0], np.c_[expected[:, 0], 1 - expected[:, 1]])


def test_the_least_signed_number_is_minus_one() -> None:
    gltf = Gltf()
    stored = np.array([[-128, 0, 0], [127, 0, 0], [0, -127, 0]], dtype=np.int8)
    gltf.mesh(gltf.array(stored, normalized=True), None)
    assert corners(gltf)[0].tolist() == [[-1, 0, 0], [1, 0, 0], [0, -1, 0]]


def test_interleaved_attributes_and_offsets_of_their_own() -> None:
    gltf = Gltf()
    rows = np.zeros(5, dtype=[("junk", "<u4"), ("place", "<f4", 3), ("uv", "<f4", 2)])
    rows["place"] = HOUSE
    view = gltf.view(b"\xff" * 8 + rows.tobytes(), byteStride=24)
    place = gltf.add("accessors", bufferView=view, byteOffset=12, componentType=5126, count=5, type="VEC3")
    gltf.mesh(place, ROOF)
    assert np.allclose(corners(gltf), HOUSE[ROOF].reshape(-1, 3, 3))


@pytest.mark.parametrize("has_base", [True, False])
def test_sparse_accessors_replace_some_elements(has_base: bool) -> None:
    gltf = Gltf()
    base = HOUSE.copy() if has_base else np.zeros_like(HOUSE)
    changed = np.array([1, 4], dtype=np.uint8)
    sparse = {
        "count": 2,
        "indices": {"bufferView": gltf.view(changed.tobytes()), "componentType": 5121},
        "values": {"bufferView": gltf.view(np.float32([[9, 8, 7], [6, 5, 4]]).tobytes())},
    }
    if has_base:
        place = gltf.array(HOUSE, sparse=sparse)
    else:
        place = gltf.add("accessors", componentType=5126, count=5, type="VEC3", sparse=sparse)
    gltf.mesh(place, ROOF)
    base[changed] = [[9, 8, 7], [6, 5, 4]]
    assert np.allclose(corners(gltf), base[ROOF].reshape(-1, 3, 3))


@pytest.mark.parametrize("is_indexed", [True, False])
@pytest.mark.parametrize(("mode", "order"), [(4, [0, 1, 2, 0, 2, 3]), (5, [0, 1, 3, 2]), (6, [0, 1, 2, 3])])
def test_triangles_strips_and_fans_are_one_square_that_faces_up(mode: int, order: list[int], is_indexed: bool) -> None:
    gltf = Gltf()
    if is_indexed:
        gltf.mesh(QUAD, np.uint32(order), mode=mode)
    else:
        gltf.mesh(QUAD[order], None, mode=mode)
    found = corners(gltf)
    crossed = np.cross(found[:, 1] - found[:, 0], found[:, 2] - found[:, 0])
    assert np.allclose(crossed, [[0, 0, 4], [0, 0, 4]])
    assert set(map(tuple, found.reshape(-1, 3))) == set(map(tuple, QUAD))


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_points_and_lines_are_named(mode: int, tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh(mode=mode)
    assert "points and lines alone" in reason(gltf, tmp_path)
    gltf.mesh()
    with collect() as heard:
        assert len(gltf.load(tmp_path).triangles) == 2
    assert ("no surface", "points and lines of 1 of its meshes are not shown") in {(n.kind, n.text) for n in heard}


def test_corners_that_make_no_triangle_are_noted() -> None:
    gltf = Gltf()
    gltf.mesh(indices=np.uint8([0, 1, 2, 0, 2]))
    with collect() as heard:
        assert len(corners(gltf)) == 1
    assert any("the last 2 of 5 corners make no triangle" in note.text for note in heard)


def test_normals_of_the_file_are_kept_and_missing_ones_are_flat() -> None:
    """3.7.2.1: "when normals are not specified, client implementations MUST calculate flat normals"."""
    gltf = Gltf()
    slanted = np.float32([[0.6, 0, 0.8]] * 4)
    gltf.mesh(attributes={"NORMAL": slanted}, node={"scale": [2, 1, 1]})
    gltf.mesh(HOUSE, ROOF)
    given, flat = parts(gltf)
    expected = np.array([0.3, 0, 0.8]) / np.linalg.norm([0.3, 0, 0.8])
    assert np.allclose(given.normals, expected, atol=1e-6)
    crossed = np.cross(*(flat.triangles[:, i] - flat.triangles[:, 0] for i in (1, 2)))
    assert flat.normals is not None
    assert np.allclose(flat.normals, (crossed / np.linalg.norm(crossed, axis=1)[:, None])[:, None])


def test_a_mirror_leaves_the_front_in_front() -> None:
    """3.7.4: where a node's determinant is negative, corners run the other way."""
    gltf = Gltf()
    gltf.mesh(node={"scale": [-1, 1, 1]})
    found = corners(gltf)
    assert (np.cross(found[:, 1] - found[:, 0], found[:, 2] - found[:, 0])[:, 2] > 0).all()


def test_nodes_are_composed_as_matrices_or_as_their_parts() -> None:
    turn = trimesh.transformations.quaternion_matrix([0.5, -0.1, 0.7, 0.3])
    matrix = np.diag([1.0, 1, 1, 1])
    matrix[:3, 3] = (1, 2, 3)
    matrix = matrix @ turn @ np.diag([2.0, 3, 0.5, 1])
    w, x, y, z = trimesh.transformations.quaternion_from_matrix(turn)
    gltf = Gltf()
    gltf.mesh(HOUSE, ROOF, node={"translation": [1, 2, 3], "rotation": [x, y, z, w], "scale": [2, 3, 0.5]})
    gltf.mesh(HOUSE, ROOF)
    gltf.add("nodes", children=[1], matrix=matrix.T.reshape(-1).tolist())
    one, other = parts(gltf)
    expected = (np.c_[HOUSE, np.ones(5)] @ matrix.T)[:, :3][ROOF].reshape(-1, 3, 3)
    assert np.allclose(one.triangles, expected) and np.allclose(other.triangles, expected)


def two_scenes() -> Gltf:
    gltf = Gltf()
    gltf.mesh()
    gltf.mesh(node={"translation": [0, 0, 5]})
    return gltf


@pytest.mark.parametrize(
    ("entries", "depths"),
    [
        ({}, [0, 5]),
        ({"scenes": [{"nodes": [1]}, {"nodes": [0]}]}, [5]),
        ({"scenes": [{"nodes": [1]}, {"nodes": [0]}], "scene": 1}, [0]),
    ],
)
def test_the_scene_that_a_viewer_opens_is_shown(entries: dict[str, Any], depths: list[int]) -> None:
    gltf = two_scenes()
    gltf.header |= entries
    with collect() as heard:
        assert [part.triangles[0, 0, 2] for part in parts(gltf)] == depths
    assert any("2 scenes" in note.text for note in heard) == ("scenes" in entries)


def test_hidden_nodes_are_not_shown() -> None:
    gltf = two_scenes()
    gltf.header["nodes"][1]["extensions"] = {"KHR_node_visibility": {"visible": False}}
    gltf.header |= {"extensionsRequired": ["KHR_node_visibility"]}
    assert len(parts(gltf)) == 1


def test_instances_are_as_many_nodes() -> None:
    gltf = Gltf()
    moves, sizes = np.float32([[0, 0, 0], [5, 0, 0], [0, 7, 1]]), np.float32([[1, 1, 1], [2, 1, 1], [1, 3, 1]])
    turns = np.array([[0, 0, 0, 127], [0, 0, 90, 90], [127, 0, 0, 0]], dtype=np.int8)
    instancing = {
        "attributes": {
            "TRANSLATION": gltf.array(moves),
            "SCALE": gltf.array(sizes),
            "ROTATION": gltf.array(turns, normalized=True),
            "_ID": 99,
        }
    }
    gltf.mesh(node={"scale": [2, 2, 2], "extensions": {"EXT_mesh_gpu_instancing": instancing}})
    gltf.header |= {"extensionsRequired": ["EXT_mesh_gpu_instancing"]}
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    matrices = (np.eye(3), quarter, np.diag([1, -1, -1]))
    expected = [
        2 * ((QUAD * size) @ matrix.T + move)[FACES] for move, size, matrix in zip(moves, sizes, matrices, strict=True)
    ]
    assert np.allclose(corners(gltf), np.concatenate(expected).reshape(-1, 3, 3), atol=1e-6)


def test_morph_targets_count_by_their_default_weights() -> None:
    gltf = Gltf()
    up, aside = np.zeros_like(QUAD), np.zeros_like(QUAD)
    up[:, 2], aside[2] = 1, (4, 0, 0)
    mesh = gltf.mesh(targets=[{"POSITION": gltf.array(up)}, {"POSITION": gltf.array(aside)}])
    gltf.header["meshes"][mesh]["weights"] = [0.5, 0.0]
    assert np.allclose(corners(gltf), (QUAD + 0.5 * up)[FACES].reshape(-1, 3, 3))
    gltf.header["nodes"][0]["weights"] = [0.0, 0.25]
    assert np.allclose(corners(gltf), (QUAD + 0.25 * aside)[FACES].reshape(-1, 3, 3))


def test_skinned_meshes_stand_as_their_joints_do() -> None:
    """3.7.3: the joints' matrices times the inverse bind matrices, weighed; the node of the mesh counts not."""
    gltf = Gltf()
    joints = np.uint8([[0, 1, 0, 0]] * 4)
    weights = np.float32([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.25, 0.75, 0, 0]])
    gltf.mesh(
        attributes={"JOINTS_0": joints, "WEIGHTS_0": weights}, node={"skin": 0, "translation": [100, 0, 0], "name": "m"}
    )
    first, second = np.eye(4), np.diag([2.0, 2.0, 2.0, 1.0])
    first[:3, 3], second[:3, 3] = (0, 0, 3), (1, 0, 0)
    gltf.add("nodes", matrix=first.T.reshape(-1).tolist(), children=[2])
    gltf.add("nodes", matrix=second.T.reshape(-1).tolist())
    inverse = np.stack([np.eye(4), np.diag([0.5, 1.0, 1.0, 1.0])]).astype(np.float32)
    bind = gltf.array(inverse.swapaxes(1, 2).reshape(2, 16))
    gltf.add("skins", joints=[1, 2], inverseBindMatrices=bind)
    points = np.c_[QUAD, np.ones(4)]
    moved = [points @ (matrix @ inv).T for matrix, inv in zip((first, first @ second), inverse, strict=True)]
    expected = (weights[:, :1] * moved[0] + weights[:, 1:2] * moved[1])[:, :3]
    assert np.allclose(corners(gltf), expected[FACES].reshape(-1, 3, 3), atol=1e-6)


def cut(gltf: Gltf) -> None:
    gltf.header["bufferViews"][0]["byteLength"] = 9999


def changed(table: str, number: int, **entry: Any) -> Any:
    return lambda gltf: gltf.header[table][number].update(entry)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (changed("accessors", 0, count=50), "accessors[0] ends at byte 600 of a view of 48"),
        (changed("accessors", 0, componentType=1), "accessors[0].componentType"),
        (changed("accessors", 0, type="VEC2"), "accessors[0] is VEC2, not VEC3"),
        (changed("accessors", 0, count=10**12), "too large: accessors[0] has 1,000,000,000,000 elements"),
        (changed("accessors", 1, componentType=5126, count=3), "no unsigned integers"),
        (changed("accessors", 0, bufferView=7), "bufferViews[7] is used, of 2"),
        (changed("bufferViews", 0, byteStride=4), "12 bytes, 4 apart"),
        (changed("bufferViews", 0, buffer=3), "buffers[3] is used, of 1"),
        (cut, "is cut off: bufferViews[0] ends at byte 9,999"),
        (changed("meshes", 0, primitives=[{"attributes": {}}]), "meshes[0].primitives[0] has no POSITION"),
        (changed("meshes", 0, primitives=[]), "meshes[0].primitives: list should have at least 1 item"),
        (changed("nodes", 0, mesh="one"), "nodes[0].mesh: input should be a valid integer"),
        (changed("nodes", 0, children=[0]), "inside themselves"),
        (lambda gltf: gltf.header.update(nodes=[{"children": [1, 1]}, {}]), "nodes[1] has two parents"),
        (changed("nodes", 0, skin=0), "skins[0] is used, of 0"),
        (changed("nodes", 0, translation=[0, 0]), "nodes[0].translation"),
        (lambda gltf: gltf.header.update(scene=3, scenes=[{"nodes": [0]}]), "scene is 3, of 1 scenes"),
        (lambda gltf: gltf.header.update(scenes=[{"nodes": [0, 0]}]), "lists a node twice"),
        (lambda gltf: gltf.header.update(scenes=7), "scenes is no list"),
        (lambda gltf: gltf.header.update(asset={"version": "3.0"}), "asset.version is '3.0'"),
        (lambda gltf: gltf.header.update(extensionsRequired=["ACME_gizmo"]), "needs the glTF extension ACME_gizmo"),
        (lambda gltf: gltf.header.update(extensionsRequired="x"), "extensionsRequired is no list of names"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(harm: Any, said: str, tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh()
    assert reason(gltf, tmp_path) == ""
    harm(gltf)
    assert said in reason(gltf, tmp_path)


def test_indices_of_vertices_that_are_not_there(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh(indices=np.uint8([0, 1, 4]))
    assert "uses vertex 4 of 4" in reason(gltf, tmp_path)


def test_nodes_in_a_long_circle_and_deep_ones(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh()
    for number in range(1, 5001):
        gltf.add("nodes", children=[number - 1], translation=[0, 0, 1])
    gltf.header["scenes"] = [{"nodes": [5000]}]
    assert np.allclose(corners(gltf)[..., 2], 5000)
    gltf.header["nodes"][0]["children"] = [5000]
    assert "inside itself" in reason(gltf, tmp_path)


@pytest.mark.slow
def test_a_million_nodes_are_refused_in_words_at_once(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh()
    gltf.header["nodes"] = [{"mesh": 0}] * 1_000_000
    path = tmp_path / "made.glb"
    path.write_bytes(gltf.glb())
    start = time.process_time()
    assert "1,000,000 nodes, over the limit of 100,000" in refusal(path)
    assert time.process_time() - start < 4


def test_very_many_instances_and_ten_thousand_parts_ten_thousand_times(tmp_path: Path) -> None:
    gltf = Gltf()
    view = gltf.view(np.zeros((200_000, 3), dtype=np.float32).tobytes())
    many = gltf.add("accessors", bufferView=view, componentType=5126, count=200_000, type="VEC3")
    gltf.mesh(node={"extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": many}}}})
    assert "200,000 instances" in reason(gltf, tmp_path)
    gltf = Gltf()
    gltf.mesh()
    gltf.header["meshes"][0]["primitives"] *= 10_000
    gltf.header["nodes"] = [{"mesh": 0}] * 10_000
    assert "200,000,000 faces" in reason(gltf, tmp_path)


def test_unknown_extensions_are_noted_where_they_are_used(tmp_path: Path) -> None:
    gltf = Gltf()
    gltf.mesh(extensions={"ACME_gizmo": {}}, node={"extensions": {"KHR_lights_punctual": {"light": 0}}})
    gltf.header["extensionsUsed"] = ["ACME_gizmo", "KHR_lights_punctual", "ACME_unused"]
    with collect() as heard:
        gltf.load(tmp_path)
    assert [note.text.split()[0] for note in heard if note.kind == "unsupported extension"] == ["ACME_gizmo"]


@pytest.mark.slow
def test_damaged_files_of_every_kind_are_refused_in_words(tmp_path: Path) -> None:
    """A file with most of what is read, one byte or one value of it changed at a time."""
    random = np.random.default_rng(0)
    gltf = Gltf()
    texture = gltf.picture(random.integers(0, 255, (4, 4, 4)), wrapS=33071)
    moved = {"index": texture, "extensions": {"KHR_texture_transform": {"offset": [0.5, 0], "rotation": 1}}}
    look = gltf.material(
        pbrMetallicRoughness={"baseColorTexture": moved}, alphaMode="MASK", emissiveFactor=[0.1, 0, 0], name="look"
    )
    gltf.mesh(
        attributes={"TEXCOORD_0": UV, "COLOR_0": np.uint8([[255, 9, 9, 255]] * 4)},
        material=look,
        targets=[{"POSITION": gltf.array(QUAD)}],
        node={"children": [1], "weights": [0.5], "scale": [1, 2, 1]},
    )
    gltf.mesh(attributes={"JOINTS_0": np.uint8([[0] * 4] * 4), "WEIGHTS_0": np.float32([[1, 0, 0, 0]] * 4)})
    gltf.header["nodes"][1] |= {"skin": gltf.add("skins", joints=[0])}
    gltf.header |= {"scenes": [{"nodes": [0]}], "scene": 0}
    whole, path = gltf.glb(), tmp_path / "made.glb"
    assert reason(gltf, tmp_path) == ""
    length = int.from_bytes(whole[12:16], "little")
    values = (b"-1", b"99999", b"1e400", b'"x"', b"null", b"[]", b"{}", b"0.5")
    digits = [i for i in range(20, 20 + length) if whole[i : i + 1].isdigit()]
    reasons = set()
    for _ in range(400):
        place, value = int(random.choice(digits)), values[random.integers(len(values))]
        text = bytearray(whole[20 : 20 + length])
        text[place - 20 : place - 19] = value
        head = b"glTF" + (2).to_bytes(4, "little") + (len(whole) + len(text) - length).to_bytes(4, "little")
        path.write_bytes(head + len(text).to_bytes(4, "little") + b"JSON" + bytes(text) + whole[20 + length :])
        reasons.add(refusal(path))
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[random.integers(len(whole))] = random.integers(256)
        path.write_bytes(bytes(damaged[: random.integers(12, len(whole))] if random.random() < 0.3 else damaged))
        reasons.add(refusal(path))
    assert len(reasons) > 40
    assert not any("cannot be read" in text or "Error" in text or "\n" in text for text in reasons), reasons


def refusal(path: Path) -> str:
    from tunemv3d_data.meshes.mesh import load_mesh
    from tunemv3d_data.objects import SourceObject

    try:
        load_mesh(SourceObject(id="x", path=path))
    except DatasetError as error:
        return str(error).split("made.glb: ", 1)[1]
    return ""
