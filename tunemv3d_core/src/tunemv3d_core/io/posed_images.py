"""Multi-view pictures on disk: ``transforms.json`` beside RGBA images, and the dataset's manifest.

``transforms.json`` follows the Blender / instant-ngp / nerfstudio convention: intrinsics in pixels and camera-to-world
matrices with OpenGL axes (x right, y up, z backward). ``cameras.opengl_to_opencv`` converts
them to our OpenCV axes and back.

A dataset is a folder::

    dataset.json                     {"format": "tunemv3d-multiview/1", "name", "objects": [{"id", "split"}, ...]}
                                     (objects may also have "licence" and "source")
    ATTRIBUTION.md                   creator, licence and source of every object
    objects/<id>/transforms.json     cameras, captions, licence, creator, source
    objects/<id>/000.webp ...        RGBA, straight alpha, sRGB
    objects/<id>/000.depth.png ...   where rendered: z depth, named per frame as "depth_file_path"
    objects/<id>/000.normal.png ...  and world-space normals, "normal_file_path"; ``depth_normals.py`` reads both
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.cameras import Cameras, opengl_to_opencv
from tunemv3d_core.errors import CameraError, DatasetError
from tunemv3d_core.foreign_text import is_whole, shown
from tunemv3d_core.io.file_names import is_inside, is_name, leading_out
from tunemv3d_core.io.json_files import MAX_LIST_BYTES, read_json, write_json_list
from tunemv3d_core.io.lenses import LENS_KEYS, read_lenses

DATASET_FORMAT = "tunemv3d-multiview/1"


@dataclass(frozen=True)
class PosedImages:
    """Record of one object: its cameras, its captions and where it comes from.

    Attributes:
        id: name of the object, and of its folder where it has one.
        cameras: ``(n,)``, one per view.
        size: (h, w) of every image in pixels.
        captions: texts that describe the object; training needs at least one.
        files: image paths relative to the object's folder, one per camera; empty for pictures that lie in no files.
        licence: SPDX-like name, such as "CC0-1.0".
        creator: who made the object.
        source: where it comes from.
        extra: further top-level keys of ``transforms.json``.
        depth_files: z depth, one file per camera; empty where there is none.
        normal_files: world-space normals, one file per camera; empty where there are none.

    Raises:
        DatasetError: a list of files that is neither empty nor as long as the cameras.
    """

    id: str
    cameras: Cameras
    size: tuple[int, int]
    captions: tuple[str, ...]
    files: tuple[str, ...] = ()
    licence: str = ""
    creator: str = ""
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    depth_files: tuple[str, ...] = ()
    normal_files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("files", *_MAPS.values()):
            if (count := len(getattr(self, name))) not in (0, self.views):
                raise DatasetError(f"object '{self.id}': {count} {name} for {self.views} cameras; give one per camera")

    @property
    def views(self) -> int:
        """Number of cameras n."""
        return self.cameras.shape[0]


_KNOWN = LENS_KEYS | {"id", "captions", "licence", "creator", "source", "frames"}
"""Keys of ``transforms.json`` that ``PosedImages`` has attributes for."""
_MAPS = {"depth_file_path": "depth_files", "normal_file_path": "normal_files"}
"""Keys of a frame, and the attributes of ``PosedImages`` that they fill."""


@dataclass(frozen=True)
class ObjectInfo:
    """Summary of one object that can be had without reading it: what a run asks before its first step.

    Attributes:
        id: as in ``PosedImages``.
        views: number of cameras.
        licence: as in ``PosedImages``.
        creator: as in ``PosedImages``.
        source: as in ``PosedImages``; "" where the dataset's list has none.
    """

    id: str
    views: int
    licence: str
    creator: str
    source: str = field(default="", kw_only=True)


def write_object(folder: Path, record: PosedImages) -> None:
    """Write ``transforms.json`` into ``folder``; the images are the caller's. An interrupted write leaves no file.

    Intrinsics are written once, or with every frame where they differ.

    Raises:
        DatasetError: the record names no image files.
    """
    if not record.files:
        raise DatasetError(f"{folder}: object '{record.id}' names no image files; give one per camera")
    h, w = record.size
    lenses = [_lens_keys(each, w, h) for each in record.cameras.intrinsics.reshape(-1, 4).cpu().double().tolist()]
    is_shared = all(lens == lenses[0] for lens in lenses)
    poses = opengl_to_opencv(record.cameras.camera_to_world.cpu().double())
    head: dict[str, Any] = {
        "camera_model": "OPENCV",
        **{"w": w, "h": h, **lenses[0]},
        **{"id": record.id, "captions": list(record.captions)},
        **{"licence": record.licence, "creator": record.creator, "source": record.source},
        **record.extra,
    }
    own = [{} if is_shared else lens for lens in lenses]
    frames = [
        {"file_path": file, **maps, **lens, "transform_matrix": [[round(float(v), 9) for v in row] for row in pose]}
        for file, maps, lens, pose in zip(record.files, _maps_of_frames(record), own, poses, strict=True)
    ]
    write_json_list(folder / "transforms.json", head, "frames", frames)


def _lens_keys(intrinsics: list[float], w: int, h: int) -> dict[str, float]:
    fx, fy, cx, cy = intrinsics
    return {"fl_x": fx * w, "fl_y": fy * h, "cx": cx * w, "cy": cy * h}


def _maps_of_frames(record: PosedImages) -> list[dict[str, str]]:
    """Return each frame's depth and normals by their keys, where the object has them."""
    maps: list[dict[str, str]] = [{} for _ in record.files]
    for key, name in _MAPS.items():
        if files := getattr(record, name):
            for frame, file in zip(maps, files, strict=True):
                frame[key] = file
    return maps


def read_object(folder: Path, check_cameras: bool = True) -> PosedImages:
    """Read an object's ``transforms.json``.

    Args:
        folder: folder of the object.
        check_cameras: False also reads cameras that are not rigid or stand inside the object, to examine them.

    Raises:
        DatasetError: the file is missing or malformed; names the file and the field.
        CameraError: a camera is not rigid or not finite; names the file and the camera.
    """
    path = folder / "transforms.json"
    if not path.exists():
        raise DatasetError(f"{path}: no such file; restore the object's folder or take it out of dataset.json")
    record = parse_object(read_json(path), path, folder.name)
    named = (*record.files, *record.depth_files, *record.normal_files)
    if link := leading_out(folder, (folder / file for file in named)):
        raise DatasetError(f"{path}: '{shown(link.name)}' is a link that leads out of the folder; copy the file there")
    try:
        return replace(record, cameras=record.cameras.check()) if check_cameras else record
    except CameraError as error:
        raise CameraError(f"{path}: {error}") from None


def parse_object(content: dict[str, Any], path: Path | str, name: str) -> PosedImages:
    """Make a record from what ``transforms.json`` says.

    Args:
        content: content of the file.
        path: its path, for messages.
        name: the object's id where the file has none.

    Raises:
        DatasetError: it is malformed; names the file and the field. The cameras are not checked.
    """
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise DatasetError(f"{path}: 'frames' must list at least one image, each as an object with its keys")
    _check_files(frames, path)
    captions = content.get("captions", [])
    if not isinstance(captions, list) or not all(isinstance(each, str) and is_whole(each) for each in captions):
        raise DatasetError(f"{path}: 'captions' must be a list of texts, got {json.dumps(captions)[:60]}")
    lenses = read_lenses(content, frames, path)
    try:
        intrinsics = torch.tensor([lens.intrinsics for lens in lenses])
        matrices = torch.tensor([frame["transform_matrix"] for frame in frames], dtype=torch.float64)
        files = tuple(str(frame["file_path"]) for frame in frames)
        maps = {name: _files_of(frames, key) for key, name in _MAPS.items()}
        cameras = Cameras(opengl_to_opencv(matrices).float(), intrinsics.expand(len(frames), 4))
    except KeyError as error:
        raise DatasetError(f"{path}: the key {error} is missing") from None
    except CameraError as error:
        raise CameraError(f"{path}: {error}") from None
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:  # numbers too large for int, float or torch
        raise DatasetError(f"{path}: {error}") from None
    return PosedImages(
        id=str(content.get("id", name)),
        files=files,
        cameras=cameras,
        size=lenses[0].size,
        captions=tuple(captions),
        licence=str(content.get("licence", "")),
        creator=str(content.get("creator", "")),
        source=str(content.get("source", "")),
        extra={k: v for k, v in content.items() if k not in _KNOWN},
        **maps,
    )


def _check_files(frames: list[dict[str, Any]], path: Path | str) -> None:
    """Refuse frames that name files outside their object's folder: these would be read, copied and packed."""
    for position, frame in enumerate(frames):
        for key in (key for key in frame if key.endswith("file_path")):
            if not isinstance(frame[key], str) or not is_inside(frame[key]):
                wrong = f"frame {position}: '{shown(key)}' '{shown(frame[key])}' is no file in the object's folder"
                raise DatasetError(f"{path}: {wrong}; put the file there and name it")


def _files_of(frames: list[dict[str, Any]], key: str) -> tuple[str, ...]:
    """Return the files that the frames name under ``key``: one per frame or, for datasets without, none."""
    named = [frame.get(key) for frame in frames]
    if not any(named):
        return ()
    if missing := [position for position, file in enumerate(named) if not file]:
        raise ValueError(f"frame {missing[0]} has no '{key}', but others have one")
    return tuple(str(file) for file in named)


def write_manifest(
    folder: Path, name: str, objects: Mapping[str, str] | Iterable[Mapping[str, str]], **extra: Any
) -> None:
    """Write ``dataset.json``.

    Args:
        folder: folder of the dataset.
        name: name of the dataset.
        objects: splits, "train" or "held_out", by id; or entries with at least ``id`` and ``split``, which may come
            from a generator.
        extra: further keys of the file.
    """
    if isinstance(objects, Mapping):
        objects = [{"id": id_, "split": split} for id_, split in objects.items()]
    write_json_list(folder / "dataset.json", {"format": DATASET_FORMAT, "name": name, **extra}, "objects", objects)


def read_manifest(folder: Path) -> dict[str, str]:
    """Read object ids and their splits, in the manifest's order.

    Raises:
        DatasetError: no manifest, another format, no objects, or one that is listed twice or has no id.
    """
    path = folder / "dataset.json"
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such dataset folder")
    if not path.exists():
        raise DatasetError(f"{path}: no such file; give a dataset's folder, as tunemv3d data render makes it")
    content = read_json(path, max_bytes=MAX_LIST_BYTES)
    if "format" not in content and "settings" in content:
        raise DatasetError(f"{path}: not finished yet; run the command that makes this dataset again")
    if content.get("format") != DATASET_FORMAT:
        raise DatasetError(f"{path}: format is '{shown(content.get('format'))}'; this version reads {DATASET_FORMAT!r}")
    objects = content.get("objects")
    if not isinstance(objects, list) or not objects:
        raise DatasetError(f"{path}: lists no objects")
    splits: dict[str, str] = {}
    for position, entry in enumerate(objects):
        id_ = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(id_, str) or not id_:
            raise DatasetError(f'{path}: objects[{position}] should be {{"id": folder, "split": name}}')
        if not is_name(id_):
            raise DatasetError(f"{path}: objects[{position}]: '{shown(id_)}' is no folder's name; take it out")
        if id_ in splits:
            raise DatasetError(f"{path}: object '{id_}' is listed twice; leave one")
        splits[id_] = str(entry.get("split", "train"))
    return splits
