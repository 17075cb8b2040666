"""Interfaces of datasets, and of the mesh renderers that make them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import ObjectInfo, PosedImages
from tunemv3d_core.types import Views

KNOWN_MAPS = {"depth": 1, "normals": 3}
"""Channels of the maps whose meaning is the same everywhere: z depth in world units, and unit normals in world space,
both 0 where nothing was hit.
"""


class Dataset(Protocol):
    """Multi-view pictures of objects, read by an index from 0 to len - 1. Built by ``build(spec)`` in every process.

    Everything is a function of the arguments: latents are kept after the first visit, and a resumed run sees what the
    interrupted one saw. Methods may be called from several threads at once. The objects need no files; a dataset may
    lie in memory. Every picture of a dataset has the same size, a multiple of the backbone's ``image_stride``.

    The conformance kit asks for all of this; every run asks for the parts that ``tunemv3d_core.dataset_checks`` lists,
    of some objects, before its first step.
    """

    def __len__(self) -> int:
        """Return the number of objects: each index below it has a record, with an id of its own."""
        ...

    def splits(self) -> dict[str, list[int]]:
        """Return lists of object indices by split.

        "train" and "held_out" are both there; "held_out" may be empty. No object is in two; some may be in none.
        """
        ...

    def record(self, index: int) -> PosedImages:
        """Return an object's cameras ``(n,)``, a tuple of captions (at least one), licence, creator and source.

        Every training step asks for it, so that it should be at hand. Cameras are as in ``tunemv3d_core.cameras``
        (OpenCV axes, intrinsics as fractions) and pass ``Cameras.check``; the object lies within radius 0.9 of the
        origin, so that what a picture shows is where its camera has the unit sphere. ``files`` may stay empty.

        Raises:
            DatasetError: the object cannot be read; names it.
        """
        ...

    def views(self, index: int, cameras: list[int]) -> Views:
        """Return the pictures of some of an object's cameras, in the order asked for, as a batch of one.

        Images are float32 from -1 to 1, on white where alpha, from 0 to 1, is 0; cameras, caption and id are the
        record's.

        Args:
            index: index of the object.
            cameras: indices of the record's cameras.

        Raises:
            DatasetError: a picture cannot be read; names it.
        """
        ...


@runtime_checkable
class KeepsLatents(Dataset, Protocol):
    """A dataset whose latents may be kept on disk, so that the next run need not encode its pictures. Optional."""

    latents_folder: Path | None
    """Folder to keep them in; None where that was not asked for."""

    def digest(self, index: int) -> str:
        """Return the sha256 of everything that one object's latents are made from: its pictures, in order."""
        ...


@runtime_checkable
class HasMaps(Dataset, Protocol):
    """A dataset that knows more of its views than their pictures show: depth, normals, masks of parts. Optional.

    Losses that need them (``NeedsMaps``) find them among their targets; nothing is read where none does.
    """

    map_channels: Mapping[str, int]
    """Number of channels of each map by its name, of every object's; ``KNOWN_MAPS`` has names that are taken."""

    def maps(self, index: int, cameras: list[int], names: Collection[str]) -> dict[str, Tensor]:
        """Return maps ``n c H W``, float32, finite, as large as the pictures, by those names, in the cameras' order.

        Raises:
            DatasetError: a map cannot be read; names it.
        """
        ...


@runtime_checkable
class HonoursOptOut(Dataset, Protocol):
    """A dataset that leaves out objects of an opt-out list (``tunemv3d_core.io.opt_out``). Optional."""

    opted_out: int
    """Number of objects that were left out, of all splits."""


@runtime_checkable
class Streams(Dataset, Protocol):
    """A dataset that is read while training goes on, because memory cannot hold it. Optional.

    ``record``, ``views``, ``latents`` and ``expect`` are called from several threads at once.
    """

    workers: int
    """Number of threads that read ahead of the step; no result depends on it."""

    def object_infos(self) -> Sequence[ObjectInfo]:
        """Return a summary of every object by its index, without reading any."""
        ...

    def order(self, seed: int, epoch: int, rank: int, world: int) -> Sequence[int]:
        """Return the training objects of one epoch in one of ``world`` processes, shuffled.

        It is a function of the arguments alone, and equally long in every epoch.
        """
        ...

    def picture_size(self) -> tuple[int, int]:
        """Return (H, W) of every picture, pixels."""
        ...

    def latent_shape(self, key: str) -> tuple[int, int, int] | None:
        """Return (c, h, w) of the packed latents, or None where there are none of this image encoder.

        Args:
            key: ``Backbone.latent_key`` of the encoder.
        """
        ...

    def latents(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        """Return latents ``n c h w`` and alpha ``n h w`` (averaged down to latent cells) of some of an object's views.

        Called only where ``latent_shape`` promises them.
        """
        ...

    def expect(self, index: int) -> None:
        """Begin to fetch an object that will be needed soon. Returns at once and raises nothing."""
        ...


class MeshRenderer(Protocol):
    """Renderer of meshes, with which datasets are made."""

    def __call__(
        self, mesh: object, cameras: Cameras, size: tuple[int, int], light: object = ...
    ) -> Iterator[dict[str, object]]:
        """Render one view per camera, in order.

        Args:
            mesh: a ``TexturedMesh``, or of the type that the caller's package defines.
            cameras: ``(n,)``.
            size: (h, w) of a view, pixels.
            light: of the type that the caller's package defines; the renderer's own where it is left out.

        Returns:
            Arrays by name: ``rgba`` (``h w 4``, uint8, straight alpha), ``albedo`` (``h w 3``, uint8, sRGB, the colour
            without light), ``depth`` (``h w``, float32, z in the camera, world units) and ``normals`` (``h w 3``,
            float32, unit, in world space, on the side that one looks at); all are 0 where nothing was hit.

        Raises:
            TuneMV3DError: it cannot render on this machine.
        """
        ...
