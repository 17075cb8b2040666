"""The dataset ``multiview``: folders of RGBA pictures with cameras and captions, checked before anything runs."""

import hashlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.depth_normals import read_depth, read_normals
from tunemv3d_core.io.opt_out import OptOut
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_core.io.posed_images import PosedImages, read_manifest, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.slots import KNOWN_MAPS
from tunemv3d_core.types import Views
from tunemv3d_train.spec import MultiviewSpec

NOTHING = OptOut()

CACHE_BYTES = 2 * 2**30
"""Bytes of decoded pictures that are kept; what does not fit is decoded anew at every visit."""


def build(spec: MultiviewSpec) -> "MultiviewImages":
    """Build the dataset that ``spec`` names."""
    listed = OptOut.read(Path(spec.opt_out)) if spec.opt_out else OptOut()
    return MultiviewImages(find_asset(spec.path), spec.cache_latents, listed)


class MultiviewImages:
    """Objects seen from many cameras (``tunemv3d_core.slots.Dataset``).

    Args:
        folder: a dataset's folder (layout: ``tunemv3d_core.io.posed_images``).
        cache_latents: offer a folder for the pictures' latents.
        opt_out: objects to leave out: their pictures are not opened.

    Raises:
        DatasetError: no manifest, an object without pictures or captions, a missing or unreadable picture, or
            pictures of different sizes. The message names the file.
        CameraError: a camera is not rigid; names the file and the camera.
    """

    def __init__(self, folder: Path, cache_latents: bool = False, opt_out: OptOut = NOTHING) -> None:
        self.folder = folder
        self.latents_folder = folder / "latents" if cache_latents else None
        listed = read_manifest(folder)
        found = {id_: _record(folder / "objects" / id_) for id_ in listed}
        kept = {id_: r for id_, r in found.items() if not opt_out.entry_of(r.id, r.creator, r.source)}
        if not kept:
            raise DatasetError(f"{folder}: the opt-out list leaves no object; take another dataset")
        self.opted_out = len(found) - len(kept)
        self._splits = {id_: listed[id_] for id_ in kept}
        self._folders = [folder / "objects" / id_ for id_ in kept]
        self._records = list(kept.values())
        for object_folder, record in zip(self._folders, self._records, strict=True):
            _check_pictures(object_folder, record)
        self._check_sizes()
        self._decoded: dict[Path, np.ndarray] = {}
        self._decoded_bytes = 0

    def __len__(self) -> int:
        return len(self._records)

    def splits(self) -> dict[str, list[int]]:
        """Return object indices by split, in the manifest's order."""
        found: dict[str, list[int]] = {"train": [], "held_out": []}
        for index, split in enumerate(self._splits.values()):
            found.setdefault(split, []).append(index)
        return found

    def record(self, index: int) -> PosedImages:
        """Return the cameras, captions, licence and source of one object."""
        return self._records[index]

    def views(self, index: int, cameras: list[int]) -> Views:
        """Return some cameras' pictures of one object, batch of one, with its first caption.

        Raises:
            DatasetError: a picture is damaged; names the file.
        """
        record = self._records[index]
        pixels = np.stack([self._decode(self._folders[index] / record.files[i]) for i in cameras])
        return posed_views(record, cameras, pixels)

    @property
    def map_channels(self) -> dict[str, int]:
        """The maps that every object has, of ``depth`` and ``normals``."""
        files = {
            "depth": all(r.depth_files for r in self._records),
            "normals": all(r.normal_files for r in self._records),
        }
        return {name: KNOWN_MAPS[name] for name, there in files.items() if there}

    def maps(self, index: int, cameras: list[int], names: Collection[str]) -> dict[str, Tensor]:
        """Return maps ``n c H W`` of some cameras of one object.

        Raises:
            DatasetError: a map is missing or damaged; names the file.
        """
        record, folder = self._records[index], self._folders[index]
        found: dict[str, Tensor] = {}
        for name in names:
            files, read = (record.depth_files, read_depth) if name == "depth" else (record.normal_files, read_normals)
            each = [torch.from_numpy(read(folder / files[camera])) for camera in cameras]
            found[name] = torch.stack(each).reshape(len(cameras), *record.size, -1).movedim(-1, 1).contiguous()
        return found

    def digest(self, index: int) -> str:
        """Return the sha256 of one object's picture files, in order."""
        digest = hashlib.sha256()
        for file in self._records[index].files:
            digest.update(hashlib.sha256((self._folders[index] / file).read_bytes()).digest())
        return digest.hexdigest()

    def _check_sizes(self) -> None:
        first = self._records[0]
        for object_folder, record in zip(self._folders, self._records, strict=True):
            if record.size != first.size:
                raise DatasetError(
                    f"{object_folder}: pictures of {record.size} (h, w), but object '{first.id}' has "
                    f"{first.size}; a dataset needs one size"
                )

    def _decode(self, path: Path) -> np.ndarray:
        if path not in self._decoded:
            pixels = decode(path, path)
            if self._decoded_bytes + pixels.nbytes > CACHE_BYTES:
                return pixels
            self._decoded[path] = pixels
            self._decoded_bytes += pixels.nbytes
        return self._decoded[path]


def decode(picture: Path | bytes, where: Path | str) -> np.ndarray:
    """Decode a picture's file or bytes to RGBA pixels ``H W 4``.

    Raises:
        DatasetError: the picture is missing or damaged; names ``where``.
    """
    with _opened(picture, where) as image:
        try:
            return np.asarray(image.convert("RGBA"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(f"{where}: the picture is damaged: {error}") from None


def posed_views(record: PosedImages, cameras: list[int], pixels: np.ndarray) -> Views:
    """Make a batch of one of some cameras of an object, their pixels ``n H W 4`` and its first caption."""
    rgba = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    return Views(
        images=on_white(rgba)[None],
        alpha=rgba[None, :, 3],
        cameras=record.cameras[cameras][None],
        captions=[record.captions[0]],
        ids=[record.id],
    )


def on_white(rgba: Tensor) -> Tensor:
    """Composite straight-alpha sRGB ``... 4 H W`` in [0, 1] on white: ``... 3 H W`` in [-1, 1]."""
    colour, alpha = rgba[..., :3, :, :], rgba[..., 3:, :, :]
    # In place: fresh memory for each intermediate result would cost more than the arithmetic.
    return (colour * alpha).add_(1).sub_(alpha).mul_(2).sub_(1)


def _record(folder: Path) -> PosedImages:
    record = read_object(folder)
    if record.id != folder.name:  # of two objects with one id, one would be lost
        differing = f"'id' is {record.id!r}, but its folder is {folder.name!r}"
        raise DatasetError(f"{folder / 'transforms.json'}: {differing}; give both the same name")
    if not record.captions:
        raise DatasetError(f"{folder / 'transforms.json'}: 'captions' needs at least one")
    return record


def _check_pictures(folder: Path, record: PosedImages) -> None:
    for file in record.files:
        path = folder / file
        with _opened(path, path) as image:
            if image.size[::-1] != record.size:
                raise DatasetError(
                    f"{path}: the picture has {image.size[0]} x {image.size[1]} pixels, but transforms.json says "
                    f"{record.size[1]} x {record.size[0]}"
                )
            if "A" not in image.getbands():
                raise DatasetError(f"{path}: no alpha channel; save it as RGBA with the background transparent")


def _opened(picture: Path | bytes, where: Path | str) -> Image.Image:
    try:
        return open_picture(picture)
    except FileNotFoundError:
        raise DatasetError(f"{where}: the picture is missing; render the object again or restore it") from None
    except OSError as error:
        raise DatasetError(f"{where}: the picture is damaged: {error}") from None
