"""COLMAP's reconstructions: cameras and images as text or binary (``layouts.colmap_files``), pictures and masks beside.

``sparse/0`` beside ``images``, as COLMAP, Gaussian splatting and nerfstudio (``colmap/sparse/0``) lay them out; of
several models, that with the most pictures. The world's orientation and scale are anything, as of nerfstudio's
captures, and are found as theirs.
"""

from pathlib import Path

import numpy as np

from tunemv3d_data.layouts.colmap_files import ColmapImage, is_model, read_model
from tunemv3d_data.layouts.conventions import OPENCV_W2C
from tunemv3d_data.layouts.masks import masks_of
from tunemv3d_data.layouts.views import SourceViews, any_folder_with, folders_with, inside
from tunemv3d_data.notes import note

LOOKS_LIKE = "COLMAP's sparse/0 (cameras and images, .bin or .txt) beside images/"
_MODELS = ("sparse", "colmap/sparse", ".")
_PICTURES = ("images", "input", "image", ".")


def recognise(path: Path) -> bool:
    """Return whether a reconstruction lies there or in a folder below."""
    return any_folder_with(path, _is_object)


def find(path: Path) -> dict[str, Path]:
    """Find folders that hold a reconstruction."""
    return folders_with(path, _is_object)


def read(folder: Path) -> SourceViews:
    """Read one reconstruction: its registered pictures, by name.

    Raises:
        DatasetError: as ``colmap_files.read_model``.
    """
    models = [(model, *read_model(model)) for model in _models(folder)]
    model, lenses, images = max(models, key=lambda found: len(found[2]))
    if len(models) > 1:
        note(
            "camera", f"{model.name} has {len(images)} pictures, the most of {len(models)} models; the others are left"
        )
    pictures = _pictures(folder, images)
    files = tuple(inside(pictures, image.name) for image in images)
    of_images = tuple(lenses[image.camera] for image in images)
    return SourceViews(
        poses=OPENCV_W2C.poses(np.stack([image.world_to_camera for image in images])),
        intrinsics=np.array([lens.intrinsics for lens in of_images]),
        files=files,
        lenses=of_images,
        read_as=OPENCV_W2C,
        up=None,
        name=folder.resolve().name,
        **masks_of(folder / "images", files),
    )


def _is_object(folder: Path) -> bool:
    return bool(_models(folder))


def _models(folder: Path) -> list[Path]:
    """Folders of cameras and images, of the first place that has any."""
    for place in (folder / name for name in _MODELS):
        numbered = (
            sorted(child for child in place.iterdir() if child.is_dir())
            if place.name == "sparse" and place.is_dir()
            else []
        )
        if found := [model for model in (place, *numbered) if is_model(model)]:
            return found
    return []


def _pictures(folder: Path, images: list[ColmapImage]) -> Path:
    """Return the folder of pictures, noting those that were not registered."""
    places = [folder / name for name in _PICTURES]
    found = next((place for place in places if inside(place, images[0].name).is_file()), None)
    if found is None:
        return places[0]  # whoever wants the pictures learns that they are missing
    beside = {file.suffix.lower() for file in (inside(found, image.name) for image in images)}
    there = sum(file.suffix.lower() in beside for file in inside(found, images[0].name).parent.iterdir())
    if found.name in _PICTURES[:3] and there > len(images):
        note("camera", f"{there - len(images)} of {there} pictures have no pose: COLMAP did not register them")
    return found
