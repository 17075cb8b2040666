"""A real chair in other people's layouts.

The writers know nothing of the readers: each states its layout's convention in numpy, from the chair's eyes, right,
down and forward directions.
"""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from tunemv3d_core.io.posed_images import read_object
from tunemv3d_core.plugins.assets import find_asset

CHAIR = "blend-swap-cc-0-armchair"
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 3))
"""In the chair's world."""


class Chair:
    """A packaged chair as plain numpy: pictures, eyes, and the directions of each camera's axes."""

    def __init__(self, views: int = 24) -> None:
        folder = find_asset("chairs") / "objects" / CHAIR
        record = read_object(folder)
        pose = record.cameras.camera_to_world.double().numpy()[:views]
        self.right, self.down, self.forward, self.eye = (pose[:, :3, column] for column in range(4))
        self.focal = float(record.cameras.intrinsics[0, 0])
        self.pictures = [np.asarray(Image.open(folder / file)) for file in record.files[:views]]

    def pixels(self) -> np.ndarray:
        """Where the points are seen, ``n p 2`` as fractions of the picture."""
        offset = POINTS[None] - self.eye[:, None]
        x, y, z = ((offset * axis[:, None]).sum(-1) for axis in (self.right, self.down, self.forward))
        return np.stack([x / z, y / z], axis=-1) * self.focal + 0.5


def identity(points: np.ndarray) -> np.ndarray:
    return points


def y_up(points: np.ndarray) -> np.ndarray:
    """The chair's world (z up) with y up and the front at +z."""
    return points[..., [0, 2, 1]] * [1, 1, -1]


def blender_matrices(chair: Chair, scale: float, turn: Callable = identity, shift: object = 0.0) -> list[np.ndarray]:
    """Camera to world with x right, y up, z backward, of a world scaled, turned, then shifted."""
    found = []
    for right, down, forward, eye in zip(chair.right, chair.down, chair.forward, chair.eye, strict=True):
        columns = [turn(right), turn(-down), turn(-forward), turn(eye * scale) + shift]
        found.append(np.vstack([np.stack(columns, axis=1), [0, 0, 0, 1]]))
    return found


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def on_white(picture: np.ndarray) -> np.ndarray:
    alpha = picture[..., 3:] / 255
    return np.round(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def write_nerfstudio(folder: Path, chair: Chair) -> None:
    """Sizes and intrinsics differ between frames; masks; y up, shifted, other units."""
    frames = []
    for index, matrix in enumerate(blender_matrices(chair, 3.0, y_up, [5.0, -1.0, 2.0])):
        side = 128 if index % 2 else 64
        rgba = np.asarray(Image.fromarray(chair.pictures[index]).resize((side, side), Image.Resampling.BOX))
        save(folder / "images" / f"frame_{index:05d}.jpg", on_white(rgba))
        save(folder / "masks" / f"frame_{index:05d}.png", rgba[..., 3])
        focal = chair.focal * side
        frames.append(
            {
                "file_path": f"images/frame_{index:05d}.jpg",
                "mask_path": f"masks/frame_{index:05d}.png",
                "transform_matrix": matrix.tolist(),
                **{"w": side, "h": side, "fl_x": focal, "fl_y": focal, "cx": side / 2, "cy": side / 2},
            }
        )
    applied = [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]
    content = {"camera_model": "OPENCV", "k1": 0.0, "applied_transform": applied, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))


def write_blender(folder: Path, chair: Chair) -> None:
    matrices = blender_matrices(chair, 1.5)
    for split, views in (("train", range(0, 16)), ("val", range(16, 20)), ("test", range(20, 24))):
        frames = []
        for index in views:
            save(folder / split / f"r_{index}.png", chair.pictures[index])
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": matrices[index].tolist()})
        content = {"camera_angle_x": 2 * np.arctan(0.5 / chair.focal), "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(content))


def write_srn(folder: Path, chair: Chair) -> None:
    """Eyes at distance 2, as SRN's chairs."""
    scale = 2.0 / np.linalg.norm(chair.eye[0])
    for index, picture in enumerate(chair.pictures):
        save(folder / "chairs_test" / "abc" / "rgb" / f"{index:06d}.png", on_white(picture))
        columns = (chair.right[index], chair.down[index], chair.forward[index], chair.eye[index] * scale)
        pose = np.vstack([np.stack(columns, axis=1), [0, 0, 0, 1]])
        text = folder / "chairs_test" / "abc" / "pose" / f"{index:06d}.txt"
        text.parent.mkdir(exist_ok=True)
        text.write_text(" ".join(f"{value:.9f}" for value in pose.reshape(-1)))
    intrinsics = f"{chair.focal * 128} 64.0 64.0 0.\n0. 0. 0.\n1.\n128 128\n"
    (folder / "chairs_test" / "abc" / "intrinsics.txt").write_text(intrinsics)


def write_zero123(folder: Path, chair: Chair) -> None:
    """World to camera as Blender has it: rows right, up, backward. The lens is fixed, so pictures are cropped to it."""
    for index, matrix in enumerate(blender_matrices(chair, 0.5 / 0.9)):
        save(folder / "uid" / f"{index:03d}.png", cropped(chair.pictures[index], chair.focal, 35 / 32))
        rotation, eye = matrix[:3, :3], matrix[:3, 3]
        np.save(folder / "uid" / f"{index:03d}.npy", np.column_stack([rotation.T, -rotation.T @ eye]))


def write_syncdreamer(folder: Path, chair: Chair) -> None:
    poses = []
    for index, picture in enumerate(chair.pictures):
        save(folder / "uid" / f"{index:03d}.png", picture)
        rows = np.stack([chair.right[index], chair.down[index], chair.forward[index]])
        poses.append(np.column_stack([rows, -rows @ (chair.eye[index] * 0.5 / 0.9)]))
    camera = np.array([[chair.focal * 128, 0, 64], [0, chair.focal * 128, 64], [0, 0, 1]], dtype=np.float32)
    angles = np.zeros(len(poses), dtype=np.float32)
    meta = [camera, angles, angles, angles.astype(np.float64), np.stack(poses)]
    (folder / "uid" / "meta.pkl").write_bytes(pickle.dumps(meta))


def write_trellis(folder: Path, chair: Chair) -> None:
    """Every frame has its own field of view."""
    frames = []
    for index, matrix in enumerate(blender_matrices(chair, 0.5 / 0.9)):
        focal = chair.focal * (1 - 0.01 * index)
        save(folder / "renders" / "sha" / f"{index:03d}.png", cropped(chair.pictures[index], chair.focal, focal))
        angle = 2 * np.arctan(0.5 / focal)
        frames.append({"file_path": f"{index:03d}.png", "camera_angle_x": angle, "transform_matrix": matrix.tolist()})
    cube = {"aabb": [[-0.5] * 3, [0.5] * 3], "scale": 0.8, "offset": [0.1, 0.2, 0.3]}
    (folder / "renders" / "sha" / "transforms.json").write_text(json.dumps({**cube, "frames": frames}))


def write_colmap(folder: Path, chair: Chair) -> None:
    """Text, as doc/format.rst has it: a world y down, two cameras, pictures out of order, keypoints and none."""
    pinhole = f"PINHOLE 128 128 {chair.focal * 128} {chair.focal * 128} 64 64"
    lines = [f"# Camera list\n1 {pinhole}\n7 SIMPLE_PINHOLE 64 64 {chair.focal * 64} 32 32\n"]
    images = ["# Image list with two lines of data per image:\n"]
    for index in reversed(range(len(chair.pictures))):
        save(
            folder / "images" / f"frame {index:02d}.png",
            chair.pictures[index] if index % 2 else half(chair.pictures[index]),
        )
        rows = np.stack([y_down(chair.right[index]), y_down(chair.down[index]), y_down(chair.forward[index])])
        eye = y_down(chair.eye[index]) * 4 + [3.0, 1.0, -2.0]
        x, y, z, w = Rotation.from_matrix(rows).as_quat()
        pose = " ".join(map(str, [w, x, y, z, *(-rows @ eye)]))
        keypoints = "2362.39 248.498 58396 1784.7 268.254 -1" if index % 3 else ""
        images.append(f"{index + 5} {pose} {1 if index % 2 else 7} frame {index:02d}.png\n{keypoints}\n")
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("".join(lines))
    (model / "images.txt").write_text("".join(images))


def half(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BOX))


def y_down(points: np.ndarray) -> np.ndarray:
    """The chair's world (z up) as COLMAP may turn it: y down, z forward."""
    return points[..., [0, 2, 1]] * [1, -1, 1]


def write_neus(folder: Path, chair: Chair) -> None:
    """Projections of a world in which the object's sphere has a radius of 300 around (100, 50, 600)."""
    arrays = {}
    scale = np.array([[300.0, 0, 0, 100], [0, 300, 0, 50], [0, 0, 300, 600], [0, 0, 0, 1]])
    camera = np.array([[chair.focal * 128, 0, 63.5], [0, chair.focal * 128, 63.5], [0, 0, 1]])
    for index, picture in enumerate(chair.pictures):
        save(folder / "scan" / "image" / f"{index:03d}.png", on_white(picture))
        save(folder / "scan" / "mask" / f"{index:03d}.png", np.repeat(picture[..., 3:], 3, axis=2))
        rows = np.stack([y_down(axis[index]) for axis in (chair.right, chair.down, chair.forward)])
        eye = y_down(chair.eye[index]) / 0.95 * 300 + [100, 50, 600]
        world = np.vstack([camera @ np.column_stack([rows, -rows @ eye]), [0, 0, 0, 1]])
        arrays[f"world_mat_{index}"] = world * (-2.5 if index % 2 else 1)  # projections are known up to a factor
        arrays[f"scale_mat_{index}"] = scale
    np.savez(folder / "scan" / "cameras_sphere.npz", **arrays)


def cropped(picture: np.ndarray, focal: float, other: float) -> np.ndarray:
    """The picture as a camera of another focal length in the same place takes it, 256 pixels."""
    margin = round(64 * (focal / other - 1)) if other < focal else 0
    wide = Image.fromarray(np.pad(picture, ((margin, margin), (margin, margin), (0, 0))))
    half, middle = 64 * focal / other, 64 + margin
    box = (middle - half, middle - half, middle + half, middle + half)
    box = tuple(min(max(value, 0), wide.width) for value in box)  # type: ignore[assignment]
    return np.asarray(wide.resize((256, 256), Image.Resampling.BILINEAR, box=box))


WRITERS = {
    "nerfstudio": (write_nerfstudio, None),
    "blender": (write_blender, None),
    "srn": (write_srn, 0.9 / 0.75 * 2.0 / 2.7),
    "zero123": (write_zero123, 0.5 / 0.75**0.5),
    "syncdreamer": (write_syncdreamer, 0.5 / 0.75**0.5),
    "trellis": (write_trellis, 0.5 / 0.75**0.5),
    "colmap": (write_colmap, None),
    "neus": (write_neus, 0.9 / 0.95),
}
"""And how many of our world units one of the chair's world is, where the layout says it."""
