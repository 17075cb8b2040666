"""A folder of pictures with known cameras, in whatever layout, as records and RGBA pictures in our conventions."""

from pathlib import Path
from typing import Protocol

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError, DatasetError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.file_names import leading_out
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_data.layouts import blender, colmap, nerfstudio, neus, ours, srn, syncdreamer, trellis, zero123
from tunemv3d_data.layouts.conventions import CONVENTIONS
from tunemv3d_data.layouts.pick import sharpness, spread_sharp
from tunemv3d_data.layouts.unread import unread
from tunemv3d_data.layouts.views import Bytes, SourceViews, picture_size, reread
from tunemv3d_data.layouts.world import World, placed


class Layout(Protocol):
    """Interface of a layout's module."""

    LOOKS_LIKE: str
    """What a folder of this layout holds, for people."""

    def recognise(self, path: Path) -> bool:
        """Return whether ``path`` holds objects of this layout; looks at one object at most."""
        ...

    def find(self, path: Path) -> dict[str, Path]:
        """Find ids and folders of all objects, without reading them."""
        ...

    def read(self, folder: Path) -> SourceViews:
        """Read cameras and picture files of one object; raises DatasetError."""
        ...


OURS = "tunemv3d"

LAYOUTS: dict[str, Layout] = {
    OURS: ours,
    "trellis": trellis,
    "nerfstudio": nerfstudio,
    "blender": blender,
    "neus": neus,
    "colmap": colmap,
    "srn": srn,
    "zero123": zero123,
    "syncdreamer": syncdreamer,
}
"""By name, in the order in which a folder is offered to them."""


class Collection:
    """Objects of one folder: cameras in our convention, z up, the object within the sphere of radius 0.9.

    Args:
        path: the dataset's folder.
        layout: a name of ``LAYOUTS``.
        world: what is stated about the source's world; the rest comes from the layout or the cameras.
        undistort: straighten pictures that a lens distorted, else refuse them.
        convention: a name of ``layouts.conventions.CONVENTIONS`` that the matrices have instead of the layout's own;
            "" for the layout's.
        most: views of an object at most; of more, the sharpest all around it are taken.

    Attributes:
        ids: the objects, in the order of their folders.
        folders: where they lie, by id.
        world: what was stated.

    Raises:
        DatasetError: no object there.
    """

    def __init__(
        self,
        path: Path,
        layout: str,
        world: World | None = None,
        undistort: bool = False,
        convention: str = "",
        most: int | None = None,
    ) -> None:
        self.path, self.layout = path, layout
        self.world, self.undistort, self.convention = world or World(), undistort, convention
        self.most = most
        self.folders = LAYOUTS[layout].find(path)
        if not self.folders:
            raise DatasetError(f"{path}: no objects of the layout {layout} ({LAYOUTS[layout].LOOKS_LIKE})")
        self.ids = tuple(self.folders)
        self._last: tuple[str, SourceViews] | None = None

    def views(self, id_: str) -> SourceViews:
        """Read one object as its layout states it.

        Raises:
            DatasetError: a file is missing or not what the layout promises, or a lens distorts; names it.
        """
        if self._last is None or self._last[0] != id_:
            views = LAYOUTS[self.layout].read(self.folders[id_])
            if file := leading_out(self.path, (*views.files, *views.masks)):
                outside = f"{shown(file, 200)} lies outside {self.path}, or is a link that leads out of it"
                raise DatasetError(f"{self.folders[id_]}: {outside}; copy the file there")
            if self.convention:
                views = reread(views, CONVENTIONS[self.convention], self.folders[id_])
            if views.distortion and not self.undistort:
                raise DatasetError(f"{self.folders[id_]}: {views.distortion}; --undistort straightens the pictures")
            if self.most is not None and len(views.files) > self.most:
                sharp = [sharpness(views.picture(view)) for view in range(len(views.files))]
                views = views.only(spread_sharp(views.poses, sharp, self.most))
            self._last = (id_, views)
        return self._last[1]

    def record(self, id_: str, check_cameras: bool = True) -> PosedImages:
        """Read one object's cameras and what is known of it; ``size`` is that of the first picture.

        Args:
            id_: the object.
            check_cameras: False also gives cameras that are not rigid or stand in the object, to examine them; where
                nothing tells the object's place, they stay where the source has them.

        Raises:
            DatasetError: a file is missing or not what the layout promises; names it.
            CameraError: a camera is not rigid or stands in the object's sphere; names the object and the camera.
        """
        views = self.views(id_)
        try:
            poses = torch.from_numpy(placed(views, self.world)).float()
        except DatasetError as error:
            if check_cameras:
                raise DatasetError(f"{self.folders[id_]}: {error}") from None
            poses = torch.from_numpy(views.poses).float()
        try:
            cameras = Cameras(poses, torch.from_numpy(views.intrinsics).float())
            cameras = cameras.check() if check_cameras else cameras
        except CameraError as error:
            raise CameraError(f"{self.folders[id_]}: {error}") from None
        return PosedImages(
            id=id_,
            files=tuple(_relative(file, self.folders[id_]) for file in views.files),
            cameras=cameras,
            size=picture_size(views.files[0]),
            captions=views.captions,
            licence=views.licence,
            creator=views.creator,
            source=views.source,
            extra={"split": views.split, **views.extra},
        )

    def picture(self, id_: str, view: int) -> Bytes:
        """Read one picture, ``h w 4``, sRGB with straight alpha; sizes differ between views where the layout allows it.

        Raises:
            DatasetError: it is missing or damaged; names the file.
        """
        return self.views(id_).picture(view)


def open_dataset(
    path: Path,
    layout: str = "auto",
    world: World | None = None,
    undistort: bool = False,
    convention: str = "",
    most: int | None = None,
) -> Collection:
    """Open a dataset of any known layout.

    Args:
        path: its folder.
        layout: a name of ``LAYOUTS``, or "auto".
        world: as for ``Collection``.
        undistort: as for ``Collection``.
        convention: as for ``Collection``.
        most: as for ``Collection``.

    Raises:
        DatasetError: no such folder, layout or convention, or no layout knows the folder.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: {'unpack it, and give its folder' if path.is_file() else 'no such folder'}")
    if convention and convention not in CONVENTIONS:
        raise DatasetError(f"no convention '{convention}'; choose {', '.join(CONVENTIONS)}")
    if layout != "auto" and layout not in LAYOUTS:
        raise DatasetError(f"no layout '{layout}'; choose auto, {', '.join(LAYOUTS)}")
    name = next((name for name in LAYOUTS if LAYOUTS[name].recognise(path)), None) if layout == "auto" else layout
    if name is None:
        if hint := unread(path):
            raise DatasetError(f"{path}: {hint}")
        known = "; ".join(f"{name}: {known.LOOKS_LIKE}" for name, known in LAYOUTS.items())
        raise DatasetError(f"{path}: none of the known layouts. {known}")
    return Collection(path, name, world, undistort, convention, most)


def _relative(file: Path, folder: Path) -> str:
    return (file.relative_to(folder) if file.is_relative_to(folder) else file).as_posix()
