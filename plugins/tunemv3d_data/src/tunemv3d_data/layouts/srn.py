"""ShapeNet chairs and cars as rendered for scene representation networks and read by pixelNeRF.

``<split>/<id>/rgb/*.png`` on white, ``pose/*.txt`` (4x4 camera to world, OpenCV axes, on one line or four) and
``intrinsics.txt``: "f cx cy 0.", the scene's middle, its scale, "height width". Read from sxyu/pixel-nerf,
src/data/SRNDataset.py (axes, near and far, the nested chairs_2.0_train) and src/util/util.py (its loops of SRN scenes
turn about z), and from vsitzmann/scene-representation-networks, util.py and data_util.py.

The objects' radius follows from pixelNeRF's near and far: chairs at distance 2 within 1.25 to 2.75, cars at 1.3 within
0.8 to 1.8; other distances are taken in the cars' proportion.
"""

from pathlib import Path

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_plain
from tunemv3d_data.layouts.conventions import OPENCV
from tunemv3d_data.layouts.views import Floats, SourceViews, any_folder_with, folders_with, matrices, rigid

LOOKS_LIKE = "<split>/<id>/ with rgb/*.png, pose/*.txt and intrinsics.txt"
_RADII = {2.0: 0.75, 1.3: 0.5}


def recognise(path: Path) -> bool:
    """Return whether an object with rgb, pose and intrinsics.txt lies there or below."""
    return any_folder_with(path, _is_object, deepest=3)


def find(path: Path) -> dict[str, Path]:
    """Find folders with rgb, pose and intrinsics.txt."""
    return folders_with(path, _is_object, deepest=3)


def read(folder: Path) -> SourceViews:
    """Read one object.

    Raises:
        DatasetError: pictures without poses, or a text file that does not hold what it should.
    """
    files = tuple(sorted((folder / "rgb").glob("*.png")))
    texts = [folder / "pose" / f"{file.stem}.txt" for file in files]
    if not files:
        raise DatasetError(f"{folder / 'rgb'}: no pictures")
    poses = rigid(
        folder / "pose", matrices(folder / "pose", [_numbers(text, 16).reshape(4, 4) for text in texts], (4, 4))
    )
    distance = float(np.median(np.linalg.norm(poses[:, :3, 3], axis=1)))
    known = next((radius for at, radius in _RADII.items() if abs(distance / at - 1) < 0.05), distance * 0.5 / 1.3)
    words = " ".join(part.name for part in (folder.resolve(), *list(folder.resolve().parents)[:3])).lower()
    return SourceViews(
        poses=poses,
        intrinsics=np.tile(_intrinsics(folder / "intrinsics.txt"), (len(files), 1)),
        files=files,
        white_ground=True,
        read_as=OPENCV,
        radius=known,
        name="chair" if "chair" in words else "car" if "cars" in words else "",
        split="held_out" if any(split in words for split in ("_val", "_test")) else "train",
    )


def _is_object(folder: Path) -> bool:
    return (folder / "intrinsics.txt").is_file() and (folder / "rgb").is_dir() and (folder / "pose").is_dir()


def _intrinsics(path: Path) -> Floats:
    lines = _lines(path)
    if lines[4:5] == ["1"]:
        raise DatasetError(f"{path}: its fifth line says that the poses are world to camera, which is not read here")
    try:
        focal, cx, cy = (float(word) for word in lines[0].split()[:3])
        height, width = (float(word) for word in lines[3].split())
        return np.array([focal / width, focal / height, cx / width, cy / height])
    except (IndexError, ValueError, ZeroDivisionError):
        raise DatasetError(f"{path}: expected 'f cx cy 0.', the middle, the scale, and 'height width'") from None


def _numbers(path: Path, count: int) -> Floats:
    try:
        values = np.array([float(word) for line in _lines(path) for word in line.split()])
    except ValueError:
        values = np.empty(0)
    if len(values) != count:
        raise DatasetError(f"{path}: {count} numbers are expected")
    return values


def _lines(path: Path) -> list[str]:
    try:
        return read_plain(path).decode().strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None
