"""Good files of every kind, and strategies for cases made of them."""

import hashlib
import io
import json
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import stand_ins
import torch
from fuzz_mutations import CANARY, TEXTS, damaged, documents, glbs, lines, pngs, tensor_files
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.checkpoint import trainable_tensors
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.glb import glb
from tunemv3d_core.io.posed_images import PosedImages, write_manifest, write_object
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots.meshers import TexturedMesh

Files = dict[str, Any]
Draw = Callable[[st.SearchStrategy[Any]], Any]

_SIDE = 12


def _saved(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@cache
def picture(kind: str = "PNG", mode: str = "RGBA") -> bytes:
    """A disc on nothing."""
    y, x = np.mgrid[:_SIDE, :_SIDE] - _SIDE / 2 + 0.5
    pixels = np.zeros((_SIDE, _SIDE, 4), np.uint8)
    pixels[x**2 + y**2 < 16] = (200, 90, 30, 255)
    return _saved(Image.fromarray(pixels).convert(mode), kind)


@cache
def dataset() -> Files:
    """Two objects of four views each."""
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("one", "two"):
            files = tuple(f"{view:03d}.png" for view in range(4))
            record = PosedImages(name, Cameras.orbit(4), (_SIDE, _SIDE), (f"a {name}",), files, "CC0-1.0", "me", "here")
            write_object(folder / "objects" / name, record)
            for file in files:
                (folder / "objects" / name / file).write_bytes(picture())
        write_manifest(folder, "fuzz", {"one": "train", "two": "held_out"})
        return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@cache
def spec() -> dict[str, Any]:
    """The packaged spec of the small model, with everything that it extends."""
    from tunemv3d_core.config.loading import load_spec
    from tunemv3d_core.config.run_spec import canonical_json

    return dict(json.loads(canonical_json(load_spec("chairs-mini"))))


@cache
def checkpoint() -> Files:
    """A checkpoint of the stand-in model."""
    state = {"optimizer.0.exp_avg": torch.arange(3.0)}
    files: Files = {
        "spec.json": json.dumps(spec()).encode(),
        "model.safetensors": save(trainable_tensors(stand_ins.tiny_model())),
        "state/tensors.safetensors": save(state),
        "state/values.json": json.dumps({"step": 7, "sampler": {"epoch": 2}}).encode(),
    }
    entry = {
        "slot": "field",
        "type": "neus",
        "distribution": "tunemv3d-neus",
        "version": "0.1.0",
        "hash": "ab",
        "code": "cd",
    }
    record = {
        **{"format": "tunemv3d-checkpoint/2", "spec_id": "ab", "components": {"field": entry}, "losses": {}},
        **{"versions": {"python": "3.11"}, "frozen": {"unet/config.json": "ab"}, "data": {"licences": {"CC0-1.0": 2}}},
        **{"ports": {}, "files": {}},
    }
    return {**files, "provenance.json": json.dumps(record).encode()}


def _signed(files: Files) -> Files:
    """Put the right checksums into a checkpoint, as whoever made it would."""
    try:
        record = json.loads(files["provenance.json"])
        record["files"] |= {
            name: hashlib.sha256(data).hexdigest()
            for name, data in files.items()
            if isinstance(data, bytes) and name != "provenance.json"
        }
        rest = {key: value for key, value in record.items() if key != "checksum"}
        record["checksum"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
        return {**files, "provenance.json": json.dumps(record).encode()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return files


@cache
def packed() -> Files:
    """The dataset in one shard, with its index."""
    runs: list[bytes] = []
    objects, at = [], 0
    for name in ("one", "two"):
        own = [(f"{name}.transforms.json", dataset()[f"objects/{name}/transforms.json"])]
        shots = [(f"{name}.{view:03d}.png", dataset()[f"objects/{name}/{view:03d}.png"]) for view in range(4)]
        three = [_run(own), _run(shots), b""]
        objects.append(
            {
                "id": name,
                "views": 4,
                "licence": "CC0-1.0",
                "creator": "me",
                "source": "here",
                "split": "train",
                "shard": 0,
            }
            | {"offset": at, "sizes": [len(run) for run in three], "crc32": [zlib.crc32(run) for run in three]}
        )
        at += sum(len(run) for run in three)
        runs += three
    tar = b"".join(runs) + bytes(1024)
    shard = {"file": "fuzz-000000.tar", "bytes": len(tar), "sha256": hashlib.sha256(tar).hexdigest()}
    index = {"format": "tunemv3d-shards/1", "name": "fuzz", "size": [_SIDE, _SIDE], "latents": None}
    return {"shards.json": json.dumps({**index, "shards": [shard], "objects": objects}).encode(), shard["file"]: tar}


def _run(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
        end = tar.offset
    return buffer.getvalue()[:end]


OBJ = b"""mtllib box.mtl
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 1
vt 0 0
vt 1 0
vt 1 1
vn 0 0 1
usemtl red
f 1/1/1 2/2/1 3/3/1
f -4 -3 -2 -1
"""
MTL = b"newmtl red\nKd 1 0 0\nd 1.0\nmap_Kd -s 1 1 1 paint.png\n"
PLY = b"""ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 1
property list uchar int vertex_indices
end_header
0 0 0 255 0 0
1 0 0 0 255 0
0 1 1 0 0 255
3 0 1 2
"""
OFF = b"OFF\n4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 1\n3 0 1 2\n4 0 1 2 3 255 0 0\n"
STL = b"""solid a
facet normal 0 0 1
outer loop
vertex 0 0 0
vertex 1 0 0
vertex 0 1 1
endloop
endfacet
endsolid a
"""
BINARY_PLY = (
    PLY[: PLY.index(b"end_header")].replace(b"ascii", b"binary_little_endian") + b"end_header\n" + bytes(range(58))
)
BINARY_STL = bytes(80) + (1).to_bytes(4, "little") + np.arange(12, dtype="<f4").tobytes() + bytes(2)


@cache
def _glb() -> bytes:
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    normals, colours = np.tile(np.float32([0, 0, 1]), (4, 1)), np.zeros((4, 3), np.uint8)
    uv, own = corners[:, :2].copy(), np.arange(4, dtype=np.int32)
    mesh = TexturedMesh(corners, faces, normals, colours, uv, own, faces, np.zeros((8, 8, 3), np.uint8))
    return glb(mesh, GeneratedBy("a model", prompt="a chair"))


@cache
def sampled() -> Files:
    """A sampled object with four views, a mesh and what makes its scene."""
    cameras = Cameras.orbit(4)
    scene = {
        "latents": torch.zeros(4, 4, 4, 4),
        "camera_to_world": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
    }
    views = [f"views/{view:03d}.png" for view in range(4)]
    manifest = {
        **{"prompt": "a red chair", "seed": 3, "checkpoint": "chairs-mini", "spec_id": "ab", "consistency": 1.0},
        **{"notes": ["a note"], "data": {"objects": 2, "licences": {"CC0-1.0": 2}}, "versions": {"torch": "2"}},
        **{"files": {"views": views, "strip": "strip.png", "mesh": "object.glb"}, "opacity_iou": 0.5},
    }
    content = json.loads(dataset()["objects/one/transforms.json"])
    for frame, view in zip(content["frames"], views, strict=True):
        frame["file_path"] = view
    return {
        "manifest.json": json.dumps(manifest).encode(),
        "transforms.json": json.dumps(content).encode(),
        "scene.safetensors": save({name: value.contiguous() for name, value in scene.items()}),
        "strip.png": picture(),
        "object.glb": _glb(),
        **dict.fromkeys(views, picture()),
    }


COLMAP = {
    "sparse/0/cameras.txt": b"1 PINHOLE 12 12 14 14 6 6\n",
    "sparse/0/images.txt": b"1 1 0 0 0 0 0 3 1 000.png\n\n2 0.7 0 0.7 0 0 0 3 1 001.png\n\n",
    "images/000.png": picture(),
    "images/001.png": picture(),
}
SRN = {
    "train/chair/intrinsics.txt": b"14 6 6 0.\n0. 0. 0.\n1.\n12 12\n",
    "train/chair/rgb/000000.png": picture(mode="RGB"),
    "train/chair/pose/000000.txt": b"1 0 0 0 0 1 0 0 0 0 1 -2 0 0 0 1\n",
}


def _capture() -> Files:
    files = {name.removeprefix("objects/one/"): data for name, data in dataset().items() if "/one/" in name}
    content = json.loads(files.pop("transforms.json"))
    content["k1"] = 0.01
    return {**files, "transforms.json": json.dumps(content).encode()}


_EMBEDDED = (".png", ".glb", ".obj", ".mtl", ".ply")
"""What ends up in other files, so that links out are not followed. Hub caches hold all else as links."""


@st.composite
def _of(draw: Draw, files: Files, *more: str) -> Files:
    """Files one or two of which are changed; one may be a pipe, a link out, or not there."""
    changed = dict(files)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(files)))
        kind, data = draw(st.integers(0, 29)), files[name]
        if kind == 0:
            changed[name] = ("pipe",)
        elif kind == 1 and name.endswith(_EMBEDDED):
            changed[name] = ("link", f"../{'../' * name.count('/')}{CANARY}")
        elif kind == 2:
            changed.pop(name, None)
        elif kind == 3:
            changed[name] = ("link", "/dev/zero")
        else:
            changed[name] = draw(_content(name, data))
    return changed


def _content(name: str, data: bytes) -> st.SearchStrategy[bytes]:
    end = name.rpartition(".")[2]
    if end == "json":
        return documents(json.loads(data))
    chosen: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]]
    chosen = {
        "safetensors": tensor_files,
        "glb": glbs,
        "png": pngs,
        "txt": lines,
        "obj": lines,
        "mtl": lines,
        "off": lines,
    }
    return chosen.get(end, damaged)(data)


@st.composite
def _specs(draw: Draw) -> tuple[Files, list[str]]:
    names = [record.name for record in registry().records("spec")]
    base = draw(st.sampled_from([spec(), spec(), {"extends": draw(st.sampled_from(names)), "name": "x"}]))
    words = draw(st.lists(_overrides(), max_size=2)) if draw(st.integers(0, 3)) == 0 else []
    return {"spec.json": draw(documents(base))}, words


@st.composite
def _overrides(draw: Draw) -> str:
    paths = [
        "name",
        "seed",
        "model.field.hidden",
        "train.steps",
        "optimizer.parts",
        "model.field",
        "model",
        "data.path",
    ]
    path = draw(st.sampled_from(paths) | st.sampled_from(TEXTS) | st.text(max_size=10) | st.just("a." * 3_000 + "a"))
    value = draw(
        st.sampled_from(TEXTS) | documents({"type": "neus", "a": [1, 2.5]}).map(lambda d: d.decode("utf-8", "replace"))
    )
    word = f"{path}={value}" if draw(st.integers(0, 9)) else path
    return word.replace("\0", "\1")  # no command line can hold a zero


@st.composite
def _checkpoints(draw: Draw) -> tuple[Files, list[str]]:
    files = draw(_of(checkpoint()))
    return (_signed(files) if draw(st.integers(0, 3)) else files), []


@st.composite
def _shards(draw: Draw) -> tuple[Files, list[str]]:
    files = draw(_of(packed()))
    tar = files.get("fuzz-000000.tar")
    if isinstance(tar, bytes) and isinstance(files.get("shards.json"), bytes) and draw(st.integers(0, 3)):
        try:
            index = json.loads(files["shards.json"])
            index["shards"][0] |= {"bytes": len(tar)}
            for each in index["objects"]:
                a, b, at = *each["sizes"][:2], each["offset"]
                each["crc32"] = [zlib.crc32(tar[at : at + a]), zlib.crc32(tar[at + a : at + a + b]), 0]
            files["shards.json"] = json.dumps(index).encode()
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            pass
    return files, []


@st.composite
def _pictures(draw: Draw) -> tuple[Files, list[str]]:
    kind = draw(
        st.sampled_from(["PNG", "PNG", "WEBP", "JPEG", "TIFF", "BMP", "GIF", "PPM", "TGA", "DDS", "JPEG2000", "AVIF"])
    )
    mode = "RGB" if kind in ("JPEG", "PPM", "JPEG2000") else "RGBA"
    try:
        data = picture(kind, mode)
    except (OSError, KeyError):
        kind, data = "PNG", picture()
    made = draw(pngs(data) if kind == "PNG" else damaged(data))
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    return {"picture.png": made if draw(st.integers(0, 19)) else eps}, []


@st.composite
def _meshes(draw: Draw) -> tuple[Files, list[str]]:
    kinds: list[Files] = [
        {"box.obj": OBJ, "box.mtl": MTL, "paint.png": picture()},
        {"a.ply": PLY},
        {"a.ply": BINARY_PLY},
        {"a.off": OFF},
        {"a.stl": STL},
        {"a.stl": BINARY_STL},
        {"a.glb": _glb()},
    ]
    return draw(_of(draw(st.sampled_from(kinds)))), []


@st.composite
def _archives(draw: Draw) -> tuple[Files, list[str]]:
    buffer = io.BytesIO()
    members = {"box.obj": OBJ, "box.mtl": MTL, "paint.png": picture()}
    if draw(st.booleans()):
        members[
            draw(st.sampled_from([f"../{CANARY}", "/etc/x.obj", "a/../../x.obj", "x" * 300 + ".obj", "a\nb.obj"]))
        ] = OBJ
    kind = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    with zipfile.ZipFile(buffer, "w", kind) as made:
        for name, data in members.items():
            made.writestr(name, data)
    data = buffer.getvalue()
    return {"a.zip": draw(damaged(data)) if draw(st.integers(0, 3)) else data}, []


@st.composite
def _schedulers(draw: Draw) -> tuple[Files, list[str]]:
    names = ["DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "StableDiffusionPipeline", "logging", "os"]
    config = {
        **{"_class_name": draw(st.sampled_from(names)), "num_train_timesteps": 1000, "beta_start": 0.00085},
        **{"beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "steps_offset": 1},
    }
    return {"scheduler_config.json": draw(documents(config))}, []


def _alone(files: st.SearchStrategy[Files]) -> st.SearchStrategy[tuple[Files, list[str]]]:
    return files.map(lambda found: (found, []))


STRATEGIES: dict[str, st.SearchStrategy[tuple[Files, list[str]]]] = {
    "specs": _specs(),
    "set": st.lists(_overrides(), min_size=1, max_size=3).map(lambda words: ({}, words)),
    "checkpoints": _checkpoints(),
    "datasets": _alone(_of(dataset())),
    "captures": _alone(st.sampled_from([_capture(), COLMAP, SRN]).flatmap(_of)),
    "shards": _shards(),
    "pictures": _pictures(),
    "meshes": _meshes(),
    "archives": _archives(),
    "manifests": _alone(_of(sampled())),
    "schedulers": _schedulers(),
}
"""Cases by kind: files, and words of the command line."""
