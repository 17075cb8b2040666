"""One object as the checks see it: its record, its pictures read when first asked for, and what follows from them."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_core.io.posed_images import PosedImages, read_object
from tunemv3d_data.doctor.fit import OUTLIER, Fit, Silhouettes, find_fit
from tunemv3d_data.doctor.hull import visual_hull
from tunemv3d_data.doctor.silhouettes import Floats, Masks, in_camera, outline
from tunemv3d_data.layouts import OURS, Collection
from tunemv3d_data.layouts.conventions import OPENGL
from tunemv3d_data.layouts.views import SourceViews
from tunemv3d_data.layouts.world import World, placed
from tunemv3d_data.notes import collect, notes_of, with_notes

Bytes = NDArray[np.uint8]

SOLID = 32
"""Alpha from which a pixel belongs to the object, of 255."""

_FEWEST_PIXELS = 32
"""Number of pixels of a solid silhouette: a sheet seen on its edge has fewer."""

_LARGEST = 512
"""Largest side that is read whole; of larger pictures every k-th pixel, so that a thousand objects take minutes."""


@dataclass(frozen=True)
class Picture:
    """Picture: ``rgba`` is ``h w 4``, ``size`` the file's (h, w)."""

    rgba: Bytes
    size: tuple[int, int]


class ObjectViews:
    """An object's record with lazily read pictures.

    Args:
        record: cameras, captions, licence; its cameras may be faulty.
        folder: what the record's files are relative to.
        source: the object in another layout, whose pictures it reads; None where the record's files are the pictures.
        world: what was stated about the source's world.
    """

    def __init__(
        self, record: PosedImages, folder: Path, source: SourceViews | None = None, world: World | None = None
    ) -> None:
        self.record = record
        self.folder = folder
        self.source = source
        self.world = world or World()
        self.poses: Floats = record.cameras.camera_to_world.double().numpy()
        self.intrinsics: Floats = record.cameras.intrinsics.double().numpy()

    def __len__(self) -> int:
        return self.record.views

    @cached_property
    def pictures(self) -> list[Picture]:
        """Pictures of all views.

        Raises:
            DatasetError: one is missing or cannot be read.
        """
        if self.source is None:
            return [read_picture(self.folder / file) for file in self.record.files]
        return [_reduced(self.source.picture(view)) for view in range(len(self))]

    @cached_property
    def alphas(self) -> list[Bytes]:
        """Alpha per view, ``h w``."""
        return [picture.rgba[..., 3] for picture in self.pictures]

    @cached_property
    def masks(self) -> list[Masks]:
        """Pixels that the object covers, ``h w`` per view."""
        return [alpha >= SOLID for alpha in self.alphas]

    @cached_property
    def is_opaque(self) -> bool:
        """Return whether no picture shows where the object ends."""
        return all(bool((alpha == 255).all()) for alpha in self.alphas)

    @cached_property
    def is_inverted(self) -> bool:
        """Return whether alpha holds the ground: nearly all frames are solid along their edge and have a hole."""
        frames = [np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).all() for mask in self.masks]
        holes = [not mask.all() for mask in self.masks]
        return bool(np.mean(frames) > 0.8 and np.mean(holes) > 0.8)

    @cached_property
    def is_empty(self) -> Masks:
        """Views that show nothing, ``n`` booleans."""
        return np.array([not mask.any() for mask in self.masks])

    @cached_property
    def is_clipped(self) -> Masks:
        """Views in which the frame cuts the object, ``n`` booleans."""
        edges = [[mask[0].sum(), mask[-1].sum(), mask[:, 0].sum(), mask[:, -1].sum()] for mask in self.masks]
        return np.array([max(edge) > 1 for edge in edges])

    @cached_property
    def whole(self) -> NDArray[np.int64]:
        """Views whose silhouette tells where the object ends; empty where alpha is missing or inverted."""
        if self.is_opaque or self.is_inverted:
            return np.zeros(0, dtype=np.int64)
        large = np.array([(alpha >= 200).sum() >= _FEWEST_PIXELS for alpha in self.alphas])
        return np.flatnonzero(large & ~self.is_clipped)

    @cached_property
    def outlines(self) -> Floats:
        """Convex outlines of all views, ``n p 2``, fractions of the image."""
        return np.stack([outline(mask) for mask in self.masks])

    @property
    def tolerance(self) -> float:
        """Pixels by which sound outlines may miss each other: one, or 0.8 % of larger pictures."""
        return max(1.0, 0.008 * self.record.size[1])

    @cached_property
    def seen(self) -> Silhouettes:
        """Silhouettes and cameras as they are stored, in the source's own world, for ``doctor.fit``."""
        poses, read_as = (self.poses, OPENGL) if self.source is None else (self.source.poses, self.source.read_as)
        return Silhouettes(self.outlines, poses, self.intrinsics, self.whole, self.record.size, self.tolerance, read_as)

    @cached_property
    def fit(self) -> Fit | None:
        """Agreement of cameras and silhouettes; None where silhouettes are too few or a camera is invalid."""
        lenses, turns = self.intrinsics, self.poses[:, :3, :3]
        finite = np.isfinite(lenses).all() and np.isfinite(self.poses).all()
        if not finite or not lenses[:, :2].all() or not np.linalg.det(turns).all():
            return None
        return find_fit(self.seen)

    @property
    def advice(self) -> str:
        """What makes the cameras those that the silhouettes agree with; "" where they do, or nothing is known to."""
        if self.fit is None or self.fit.reading is None:
            return ""
        reading = self.fit.reading
        if self.source is not None and reading.check == "camera-convention" and reading.convention.name:
            return f"tunemv3d data convert --convention {reading.convention.name}"
        return reading.advice if self.source is None else f"in the source's files: {reading.advice}"

    @cached_property
    def likely_poses(self) -> Floats | None:
        """Poses ``n 4 4`` in our world under the convention that fits the silhouettes; None where none is known to."""
        if self.fit is None or self.fit.fits:
            return self.poses
        if self.fit.reading is None or self.source is None:
            return None if self.fit.reading is None else self.fit.reading.poses
        try:
            return placed(replace(self.source, poses=self.fit.reading.poses), self.world)
        except DatasetError:
            return None

    @cached_property
    def trusted(self) -> NDArray[np.int64]:
        """Whole views that agree with the others under the cameras as read."""
        if self.fit is None or not self.fit.fits:
            return np.zeros(0, dtype=np.int64)
        return self.whole[self.fit.errors[self.whole] <= OUTLIER * self.tolerance]

    @cached_property
    def hull(self) -> Floats:
        """Visual hull of the trusted views: ``p 3``, world units; empty where there are none."""
        views = self.trusted
        if not len(views):
            return np.zeros((0, 3))
        directions = in_camera(self.outlines[views], self.intrinsics[views])
        return visual_hull([self.masks[i] for i in views], self.poses[views], self.intrinsics[views], directions)


def open_views(source: Collection, id_: str) -> ObjectViews:
    """Open one object of a dataset of any layout, its cameras unchecked; ours with depth, normals and the stated size.

    What is noted while another layout is read is in its record, as if it had been converted.

    Raises:
        DatasetError: it cannot be read; names the file.
    """
    folder = source.folders[id_]
    if source.layout == OURS:
        return ObjectViews(read_object(folder, check_cameras=False), folder)
    with collect(only_ours=True) as heard:
        record, views = source.record(id_, check_cameras=False), source.views(id_)
    return ObjectViews(with_notes(record, (*notes_of(record.extra), *heard)), folder, views, source.world)


def read_picture(path: Path) -> Picture:
    """Read a picture as RGBA.

    Raises:
        DatasetError: it is missing or cannot be decoded.
    """
    try:
        with open_picture(path) as image:
            return _reduced(np.asarray(image.convert("RGBA")))
    except FileNotFoundError:
        raise DatasetError(f"{path}: no such picture") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DatasetError(f"{path}: cannot be read as a picture: {error}") from None


def _reduced(rgba: Bytes) -> Picture:
    h, w = rgba.shape[:2]
    step = max(1, -(-max(h, w) // _LARGEST))
    return Picture(np.ascontiguousarray(rgba[step // 2 :: step, step // 2 :: step]), (h, w))
