"""Datasets for the tests of the kit: balls beside the origin, and copies that break one promise each."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere, opengl_to_opencv
from tunemv3d_core.io.posed_images import ObjectInfo, PosedImages
from tunemv3d_core.types import Views

COLOURS = {"red": (0.8, 0.1, 0.1), "green": (0.2, 0.6, 0.1), "blue": (0.1, 0.2, 0.8)}
CENTRE, RADIUS = (0.3, -0.2, 0.2), 0.4
SIZE, VIEWS = (24, 20), 6
H, W = SIZE


@dataclass
class Balls:
    """Three balls, half of each dark; the last is held out. Pictures are not square.

    Attributes:
        pictures: changes images ``n 3 H W`` and alpha ``n H W``.
        poses: changes camera-to-world matrices ``n 4 4``.
        lenses: changes intrinsics ``n 4``.
        recorded: attributes of the records that are changed.
        seen: attributes of the views that are changed.
        split: the splits.
        length: how many objects it says that it has.
    """

    pictures: Callable[[Tensor, Tensor], tuple[Any, Any]] = lambda images, alpha: (images, alpha)
    poses: Callable[[Tensor], Tensor] = lambda matrices: matrices
    lenses: Callable[[Tensor], Tensor] = lambda intrinsics: intrinsics
    recorded: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    split: Any = None
    length: int = len(COLOURS)

    def __len__(self) -> int:
        return self.length

    def splits(self) -> dict[str, list[int]]:
        return self.split or {"train": [0, 1], "held_out": [2]}

    def record(self, index: int) -> PosedImages:
        name, right = list(COLOURS)[index], self.cameras(index)
        cameras = Cameras(self.poses(right.camera_to_world), self.lenses(right.intrinsics))
        record = PosedImages(name, cameras, SIZE, (f"a {name} ball", "a ball"), licence="CC0-1.0")
        return replace(record, **self.recorded)

    def views(self, index: int, cameras: list[int]) -> Views:
        record = self.record(index)
        images, alpha = self.pictures(*self.drawn(index, cameras))
        views = Views(images[None], alpha[None], record.cameras[cameras][None], [record.captions[0]], [record.id])
        return replace(views, **self.seen)

    def cameras(self, index: int) -> Cameras:
        return Cameras.orbit(VIEWS, elevation=20.0 + 10 * index, focal=0.9, aspect=W / H)

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        """Images ``n 3 H W`` from -1 to 1 and alpha ``n H W``."""
        rays = self.cameras(index)[cameras].rays(SIZE)
        rays = replace(rays, origins=rays.origins - torch.tensor(CENTRE))
        near, _, hit = intersect_sphere(rays, RADIUS)
        front = (rays.origins + near[..., None] * rays.directions)[..., 1] < 0
        colour = torch.tensor(COLOURS[list(COLOURS)[index]]) * torch.where(front, 1.0, 0.4)[..., None]
        alpha = hit.float()
        images = colour * alpha[..., None] + (1 - alpha[..., None])
        return 2 * images.movedim(-1, 1).unflatten(-1, SIZE) - 1, alpha.unflatten(-1, SIZE)


def bytes_of(images: Tensor) -> Tensor:
    return ((images + 1) * 127.5).round()


PICTURES: dict[str, Callable[[Tensor, Tensor], tuple[Any, Any]]] = {
    "Pastel": lambda images, alpha: (bytes_of(images / 4 + 0.75) / 127.5 - 1, alpha),  # unbroken: nothing is below 0
    "FromZero": lambda images, alpha: ((images + 1) / 2, alpha),
    "Bytes": lambda images, alpha: (bytes_of(images), alpha),
    "UnsignedBytes": lambda images, alpha: (bytes_of(images).to(torch.uint8), alpha),
    "AlphaInBytes": lambda images, alpha: (images, alpha * 255),
    "NotANumber": lambda images, alpha: (images * (alpha / alpha)[:, None], alpha),  # divided by an alpha of 0
    "OnBlack": lambda images, alpha: (torch.where(alpha[:, None] > 0, images, -1.0), alpha),
    "InvertedAlpha": lambda images, alpha: (images, 1 - alpha),
    "OpaqueAlpha": lambda images, alpha: (images, torch.ones_like(alpha)),
    "EmptyAlpha": lambda images, alpha: (torch.ones_like(images), torch.zeros_like(alpha)),
    "ChannelsLast": lambda images, alpha: (images.movedim(1, -1), alpha),
    "OffCentre": lambda images, alpha: (images.roll(7, -1), alpha.roll(7, -1)),  # cut after the cameras were written
    "UpsideDown": lambda images, alpha: (images.flip(-2), alpha.flip(-2)),  # as graphics libraries give them
    "LeftRight": lambda images, alpha: (images.flip(-1), alpha.flip(-1)),
}


def moved(matrices: Tensor, factor: float) -> Tensor:
    """Cameras that stand further from the origin by a factor."""
    return torch.cat([matrices[..., :3], matrices[..., 3:] * torch.tensor([factor] * 3 + [1.0])[:, None]], dim=-1)


POSES: dict[str, Callable[[Tensor], Tensor]] = {
    "Doubles": lambda matrices: matrices.double(),  # as numpy makes them
    "OpenGL": opengl_to_opencv,
    "WorldToCamera": torch.linalg.inv,
    "OpenGLWorldToCamera": lambda matrices: torch.linalg.inv(opengl_to_opencv(matrices)),
    "Mirrored": lambda matrices: torch.diag(torch.tensor([-1.0, 1, 1, 1])) @ matrices,  # a left-handed world
    "Sheared": lambda matrices: matrices * torch.tensor([2.0, 2, 2, 1]),  # rotations that scale
    "Inside": lambda matrices: moved(matrices, 1 / 3),  # a world so small that cameras stand in the sphere
    "Millimetres": lambda matrices: moved(matrices, 1000),  # so large that the sphere is a dot
}

SPLITS: dict[str, dict[str, list[Any]]] = {
    "Overlapping": {"train": [0, 1, 2], "held_out": [2]},
    "OtherNames": {"train": [0, 1], "test": [2]},
    "SplitsOfIds": {"train": ["red", "green"], "held_out": ["blue"]},
    "BeyondTheEnd": {"train": [1, 2], "held_out": [3]},  # indices count from 1
    "NoSplits": {"train": [], "held_out": []},
}

RECORDS: dict[str, dict[str, Any]] = {
    "WidthFirst": {"size": (W, H)},
    "LettersAsCaptions": {"captions": "a ball"},
    "NoCaptions": {"captions": ()},
    "NumbersAsCaptions": {"captions": (7,)},
}

BROKEN = {
    **{name: partial(Balls, pictures=change) for name, change in PICTURES.items()},
    **{name: partial(Balls, poses=change) for name, change in POSES.items()},
    **{name: partial(Balls, split=split) for name, split in SPLITS.items()},
    **{name: partial(Balls, recorded=changed) for name, changed in RECORDS.items()},
    "InPixels": partial(Balls, lenses=lambda intrinsics: intrinsics * torch.tensor([W, H, W, H])),
    "OtherCaption": partial(Balls, seen={"captions": ["something"]}),
    "Empty": partial(Balls, length=0, split=SPLITS["NoSplits"]),
    "TooLong": partial(Balls, length=100),
}


def opened(part: str) -> Any:
    """Open one of ``BROKEN``, or of the classes of this module."""
    return BROKEN[part]() if part in BROKEN else globals()[part]()


class NoBatch(Balls):
    """Pictures without the axis of the batch."""

    def views(self, index: int, cameras: list[int]) -> Views:
        views = super().views(index, cameras)
        return replace(views, images=views.images[0], alpha=views.alpha[0])


class Exchanged(Balls):
    """Pictures were sorted backwards, cameras were not."""

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        return super().drawn(index, [VIEWS - 1 - camera for camera in cameras])


class ComesRound(Balls):
    """Says that it has more objects, and gives the first ones again."""

    def __init__(self) -> None:
        super().__init__(length=100)

    def record(self, index: int) -> PosedImages:
        return super().record(index % 3)


class OtherCameras(Balls):
    """Views have the cameras of the first views, whichever were asked for."""

    def views(self, index: int, cameras: list[int]) -> Views:
        few = list(range(len(cameras)))
        return replace(super().views(index, cameras), cameras=self.cameras(index)[few][None])


class Jitters(Balls):
    """Changes colours at random, as augmentation does."""

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        images, alpha = super().drawn(index, cameras)
        return images * (1 - 0.1 * torch.rand(()) * alpha[:, None]), alpha


class Seeds(Balls):
    """Seeds torch's random numbers, so that its own repeat."""

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        torch.manual_seed(index)
        return super().drawn(index, cameras)


class EditsTheQuestion(Balls):
    """Sorts the list of cameras that it is given."""

    def views(self, index: int, cameras: list[int]) -> Views:
        views = super().views(index, cameras)
        cameras.sort()
        return views


class OneBuffer(Balls):
    """Gives the same tensor each time, filled anew."""

    buffer = torch.zeros(0)

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        images, alpha = super().drawn(index, cameras)
        self.buffer = self.buffer if self.buffer.shape == images.shape else torch.zeros_like(images)
        return self.buffer.copy_(images), alpha


class SortsViews(Balls):
    """Gives views in the order of its files, not of the question."""

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        return super().drawn(index, sorted(cameras))


class OneFile(Balls):
    """Keeps its place in one file between calls."""

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        self.place = index
        time.sleep(0.001)
        return super().drawn(self.place, cameras)


class NoSuchMethod:
    """Has no ``record``."""

    def __len__(self) -> int:
        return 3

    def splits(self) -> dict[str, list[int]]:
        return {"train": [0, 1], "held_out": [2]}

    def views(self, index: int, cameras: list[int]) -> Views:
        raise NotImplementedError


class Streamed(Balls):
    """Unbroken: a streamed dataset."""

    workers = 2

    def object_infos(self) -> list[ObjectInfo]:
        return [ObjectInfo(name, VIEWS, "CC0-1.0", "") for name in COLOURS]

    def order(self, seed: int, epoch: int, rank: int, world: int) -> list[int]:
        return [0, 1]

    def picture_size(self) -> tuple[int, int]:
        return SIZE

    def latent_shape(self, key: str) -> None:
        return None

    def latents(self, index: int, cameras: list[int]) -> Any:
        raise NotImplementedError

    def expect(self, index: int) -> None:
        pass


class StreamsFewer(Streamed):
    """Its list of objects is shorter than its length."""

    def object_infos(self) -> list[ObjectInfo]:
        return super().object_infos()[:2]


class ListsOthers(Streamed):
    """Its list of objects is in another order than its records."""

    def object_infos(self) -> list[ObjectInfo]:
        return super().object_infos()[::-1]


class ShowsHeldOut(Streamed):
    """An epoch has all objects."""

    def order(self, seed: int, epoch: int, rank: int, world: int) -> list[int]:
        return [0, 1, 2]


class EpochsOfAnyLength(Streamed):
    """Later epochs show some object twice."""

    def order(self, seed: int, epoch: int, rank: int, world: int) -> list[int]:
        return [0, 1, *[0] * epoch]


class WithMaps(Balls):
    """Unbroken: a dataset that has depth beside its pictures."""

    map_channels = {"depth": 1}  # noqa: RUF012

    def maps(self, index: int, cameras: list[int], names: Any) -> dict[str, Tensor]:
        return {name: 2.0 * self.drawn(index, cameras)[1][:, None] for name in names}


class MapsInCells(WithMaps):
    def maps(self, index: int, cameras: list[int], names: Any) -> dict[str, Tensor]:
        return {name: values[..., ::4, ::4] for name, values in super().maps(index, cameras, names).items()}


class MapsOfInfinity(WithMaps):
    def maps(self, index: int, cameras: list[int], names: Any) -> dict[str, Tensor]:
        return {name: 1 / values for name, values in super().maps(index, cameras, names).items()}
