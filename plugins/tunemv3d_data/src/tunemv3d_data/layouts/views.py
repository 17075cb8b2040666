"""One object as its layout states it, and what all layouts need to read it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.lenses import Lens
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_data.layouts.conventions import OPENGL, Convention
from tunemv3d_data.layouts.straighten import straightened
from tunemv3d_data.notes import note

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

_LONGEST_NAME = 1000
"""Bytes of a relative name; disks take 4,096 in a whole path."""

HALF_CUBE_RADIUS = 0.75**0.5
"""Of the sphere around the cube [-0.5, 0.5]^3, into which several renderers fit their objects."""


@dataclass(frozen=True)
class SourceViews:
    """One object's pictures and cameras in its layout's own world.

    Attributes:
        poses: ``n 4 4``, camera to world, OpenCV axes, any units.
        intrinsics: ``n 4``: fx, fy, cx, cy as fractions of each picture's width and height.
        files: the pictures, one per camera.
        masks: one per picture, white where the object is; empty where there are none.
        black_masks: the masks are white where the object is not.
        lenses: one per picture where some may be distorted, else none; ``picture`` straightens them.
        read_as: how the layout stores the matrices that the poses were read from.
        white_ground: the pictures have no alpha and the object stands on pure white.
        radius: of the sphere around the world's origin that holds the object; None where the layout does not say.
        up: the world's upward direction; None where the layout does not say.
        name: words that may tell what the object is.
        split: "train" or "held_out".
        captions, licence, creator, source, extra: as in ``PosedImages``.
    """

    poses: Floats
    intrinsics: Floats
    files: tuple[Path, ...]
    masks: tuple[Path, ...] = ()
    black_masks: bool = False
    lenses: tuple[Lens, ...] = ()
    read_as: Convention = OPENGL
    white_ground: bool = False
    radius: float | None = None
    up: tuple[float, float, float] | None = (0.0, 0.0, 1.0)
    name: str = ""
    split: str = "train"
    captions: tuple[str, ...] = ()
    licence: str = ""
    creator: str = ""
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def distortion(self) -> str:
        """The first distorted picture and its lens, in words; "" where all are straight."""
        bent = ((file, lens) for file, lens in zip(self.files, self.lenses, strict=False) if not lens.is_pinhole)
        return next((f"the lens of {file.name} is {lens}" for file, lens in bent), "")

    def picture(self, view: int) -> Bytes:
        """Read one view, ``h w 4``, straight alpha, without the lens's distortion.

        Raises:
            DatasetError: the picture or its mask is missing, damaged, or of another size; names the file.
        """
        rgba = np.array(_opened(self.files[view], "RGBA"))
        if self.white_ground:
            rgba[..., 3] = without_white_ground(rgba[..., :3])
        if self.masks:
            mask = self.mask(view)
            if mask.shape != rgba.shape[:2]:
                raise DatasetError(
                    f"{self.masks[view]}: a mask of {mask.shape} for a picture of {rgba.shape[:2]} (h, w)"
                )
            rgba[..., 3] = np.minimum(rgba[..., 3], mask)
        return straightened(rgba, self.lenses[view]) if self.lenses else rgba

    def mask(self, view: int) -> Bytes:
        """Read one view's mask, ``h w``, 255 where the object is.

        Raises:
            DatasetError: it is missing or damaged; names the file.
        """
        mask = np.asarray(_opened(self.masks[view], "L"))
        return 255 - mask if self.black_masks else mask

    def only(self, views: Sequence[int]) -> "SourceViews":
        """Return some of the views, in the order of ``views``."""
        return replace(
            self,
            poses=self.poses[list(views)],
            intrinsics=self.intrinsics[list(views)],
            files=tuple(self.files[view] for view in views),
            masks=tuple(self.masks[view] for view in views) if self.masks else (),
            lenses=tuple(self.lenses[view] for view in views) if self.lenses else (),
        )


def without_white_ground(rgb: Any) -> Bytes:
    """Alpha of an object on pure white: 0 where white (255, 255, 255) reaches the picture's border, else 255.

    The ground is filled from the border through pixels that touch side by side, so that white parts of the object
    stay solid; so do patches of ground that the object encloses, such as the gap under an armrest.

    Args:
        rgb: ``h w 3``, uint8.
    """
    ground = (np.asarray(rgb) == 255).all(-1)
    framed = Image.fromarray(np.pad(ground.astype(np.uint8) * 255, 1, constant_values=255)).copy()
    ImageDraw.floodfill(framed, (0, 0), 128)
    return np.where(np.asarray(framed)[1:-1, 1:-1] == 128, 0, 255).astype(np.uint8)


def picture_size(path: Path) -> tuple[int, int]:
    """Read the size (h, w) of a picture without decoding it."""
    try:
        with open_picture(path) as image:
            return image.height, image.width
    except OSError as error:
        raise _unreadable(path, error) from None


def inside(folder: Path, name: str) -> Path:
    """Return the file that other people's files name relative to a folder; backslashes separate, as on Windows.

    Raises:
        DatasetError: no relative name, or none that a disk could hold.
    """
    if PureWindowsPath(name).anchor or not name.isprintable() or len(name.encode()) > _LONGEST_NAME:
        raise DatasetError(f"{folder}: '{shown(name)}' is no file below it; put it there and name it")
    return folder / name.replace("\\", "/")


def folders_with(path: Path, is_object: Callable[[Path], bool], deepest: int = 2) -> dict[str, Path]:
    """Find names and folders of all objects at or below ``path``; nothing is looked for inside an object.

    Raises:
        DatasetError: two objects in different folders have the same name.
    """
    found: dict[str, Path] = {}
    level = [path]
    for _ in range(deepest + 1):
        objects = [folder for folder in level if is_object(folder)]
        for folder in objects:
            if folder.resolve().name in found:
                raise DatasetError(
                    f"{path}: two objects are called {folder.name}: {found[folder.name]} and {folder}; "
                    "open one of these folders alone"
                )
            found[folder.resolve().name] = folder
        level = [
            child
            for folder in level
            if folder.is_dir() and folder not in objects
            for child in sorted(folder.iterdir())
            if child.is_dir()
        ]
    return found


def any_folder_with(path: Path, is_object: Callable[[Path], bool], deepest: int = 2) -> bool:
    """Return whether the first object-like folder is at or below ``path``; reads no more than it must."""
    if not path.is_dir():
        return False
    if is_object(path):
        return True
    children = (child for child in sorted(path.iterdir()) if child.is_dir())
    return deepest > 0 and any(any_folder_with(child, is_object, deepest - 1) for child in children)


def matrices(where: Path, values: Any, shape: tuple[int, int]) -> Floats:
    """Read matrices ``n 4 4`` from nested numbers of ``n`` matrices of ``shape``, (4, 4) or (3, 4).

    Raises:
        DatasetError: other shapes or no numbers; names the file.
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.empty(0)
    if found.ndim != 3 or found.shape[1:] != shape:
        raise DatasetError(f"{where}: camera matrices should be {shape[0]} x {shape[1]} finite numbers each")
    if len(wrong := np.flatnonzero(~np.isfinite(found).all((1, 2)))):
        raise DatasetError(f"{where}: the camera matrix of frame {wrong[0]} holds a number that is not finite")
    if shape == (3, 4):
        found = np.concatenate([found, np.broadcast_to([[[0.0, 0.0, 0.0, 1.0]]], (len(found), 1, 4))], axis=1)
    return found


def rigid(where: Path, poses: Floats) -> Floats:
    """Take a uniform scale out of the rotations of poses ``n 4 4``, with a note. Mirrored ones stay so.

    Raises:
        DatasetError: axes of different lengths or not at right angles, or a last row other than 0 0 0 1; names the
            file and the frame.
    """
    if len(rows := np.flatnonzero(np.abs(poses[:, 3] - [0, 0, 0, 1]).max(-1) > 1e-6)):
        row = " ".join(f"{value:g}" for value in poses[rows[0], 3])
        wrong = f"the last row of frame {rows[0]}'s matrix is {row}, not 0 0 0 1"
        raise DatasetError(f"{where}: {wrong}; transpose the matrices where the translation stands there")
    gram = np.einsum("nij,nik->njk", poses[:, :3, :3], poses[:, :3, :3])
    scale = np.sqrt(np.trace(gram, axis1=1, axis2=2) / 3)
    with np.errstate(invalid="ignore", divide="ignore"):
        skew = np.abs(gram / scale[:, None, None] ** 2 - np.eye(3)).max((1, 2))
    if len(bent := np.flatnonzero(~(skew < 1e-3))):
        lengths = ", ".join(f"{length:.4g}" for length in np.sqrt(np.diagonal(gram[bent[0]])))
        wrong = f"the matrix of frame {bent[0]} is not rigid: its axes have the lengths {lengths}"
        between = np.abs(gram[bent[0]] - np.diag(np.diagonal(gram[bent[0]]))).max()
        angles = " and are not at right angles" if between > 1e-3 * scale[bent[0]] ** 2 else ""
        raise DatasetError(f"{where}: {wrong}{angles}; export rigid camera matrices")
    scaled = np.flatnonzero(np.abs(scale - 1) > 5e-4)
    if len(scaled):
        least, most = (f"{value:.4g}" for value in (scale[scaled].min(), scale[scaled].max()))
        by = least if least == most else f"{least} to {most}"
        note("camera", f"{where.name}: the matrices of {len(scaled)} cameras scale by {by}, which was taken out")
    turned = poses.copy()
    turned[:, :3, :3] /= scale[:, None, None]
    return turned


def reread(views: SourceViews, convention: Convention, where: Path) -> SourceViews:
    """Return the views with the same stored matrices read by another convention.

    Raises:
        DatasetError: they cannot be read by it; names ``where``.
    """
    try:
        poses = convention.poses(views.read_as.stored(views.poses))
    except np.linalg.LinAlgError:
        raise DatasetError(f"{where}: a camera matrix has no inverse, so that it is no world-to-camera one") from None
    return replace(views, poses=poses, read_as=convention)


def central(focal: float | Sequence[float], views: int) -> Floats:
    """Intrinsics ``n 4`` of square pictures whose axis meets their middle; focal as a fraction of the width."""
    focals = np.broadcast_to(np.asarray(focal, dtype=np.float64), (views,))
    return np.stack([focals, focals, np.full(views, 0.5), np.full(views, 0.5)], axis=1)


def _opened(path: Path, mode: str) -> Image.Image:
    try:
        with open_picture(path) as image:
            return image.convert(mode)
    except (OSError, SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DatasetError:
    if isinstance(error, FileNotFoundError):
        return DatasetError(f"{path}: the picture is missing")
    return DatasetError(f"{path}: the picture is damaged: {error}")
