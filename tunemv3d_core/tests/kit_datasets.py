"""Datasets for the tests of the kit: balls beside the origin, drawn on request, and copies that break one promise each.

A copy's docstring says what its author did.
"""

import time
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere, opengl_to_opencv
from tunemv3d_core.io.posed_images import ObjectInfo, PosedImages
from tunemv3d_core.types import Views

COLOURS = {"red": (0.8, 0.1, 0.1), "green": (0.2, 0.6, 0.1), "blue": (0.1, 0.2, 0.8)}
CENTRE, RADIUS = (0.3, -0.2, 0.2), 0.4
SIZE, VIEWS = (24, 20), 6


class Balls:
    """Three balls; the last is held out. Pictures are not square."""

    def __len__(self) -> int:
        return len(COLOURS)

    def splits(self) -> dict[str, list[int]]:
        return {"train": [0, 1], "held_out": [2]}

    def record(self, index: int) -> PosedImages:
        name = list(COLOURS)[index]
        return PosedImages(name, self.cameras(index), SIZE, (f"a {name} ball", "a ball"), licence="CC0-1.0")

    def views(self, index: int, cameras: list[int]) -> Views:
        record = self.record(index)
        images, alpha = self.drawn(index, cameras)
        return Views(images[None], alpha[None], record.cameras[cameras][None], [record.captions[0]], [record.id])

    def cameras(self, index: int) -> Cameras:
        return Cameras.orbit(VIEWS, elevation=20.0 + 10 * index, focal=0.9, aspect=SIZE[1] / SIZE[0])

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        """Images ``n 3 H W`` from -1 to 1 and alpha ``n H W``."""
        rays = Balls.cameras(self, index)[cameras].rays(SIZE)
        rays = replace(rays, origins=rays.origins - torch.tensor(CENTRE))
        near, _, hit = intersect_sphere(rays, RADIUS)
        front = (rays.origins + near[..., None] * rays.directions)[..., 1] < 0
        colour = torch.tensor(COLOURS[list(COLOURS)[index]]) * torch.where(front, 1.0, 0.4)[..., None]
        alpha = hit.float()
        images = colour * alpha[..., None] + (1 - alpha[..., None])
        return 2 * images.movedim(-1, 1).unflatten(-1, SIZE) - 1, alpha.unflatten(-1, SIZE)


class Pastel(Balls):
    """Unbroken: bytes of an object so bright that no value is below 0."""

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        images, alpha = super().drawn(index, cameras)
        return ((images / 4 + 0.75 + 1) * 127.5).round() / 127.5 - 1, alpha


class Scaled(Balls):
    """Scales pictures and alpha; each copy says how."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Any, Any]:
        raise NotImplementedError

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        return self.scaled(*super().drawn(index, cameras))


class FromZero(Scaled):
    """Pictures from 0 to 1."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return (images + 1) / 2, alpha


class Bytes(Scaled):
    """Pictures from 0 to 255."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return ((images + 1) * 127.5).round(), alpha


class UnsignedBytes(Scaled):
    """Pictures as uint8."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return ((images + 1) * 127.5).round().to(torch.uint8), alpha


class AlphaInBytes(Scaled):
    """Alpha from 0 to 255."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images, alpha * 255


class NotANumber(Scaled):
    """Colours are divided by alpha where it is 0."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images * (alpha / alpha)[:, None], alpha


class OnBlack(Scaled):
    """Pictures on black ground."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(alpha[:, None] > 0, images, -1.0), alpha


class InvertedAlpha(Scaled):
    """Alpha is 1 where nothing is."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images, 1 - alpha


class OpaqueAlpha(Scaled):
    """Alpha is 1 everywhere."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images, torch.ones_like(alpha)


class EmptyAlpha(Scaled):
    """Masks that were not found: all is ground."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(images), torch.zeros_like(alpha)


class ChannelsLast(Scaled):
    """Pictures as ``n H W 3``."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images.movedim(1, -1), alpha


class WidthFirst(Balls):
    """A record's size is (w, h)."""

    def record(self, index: int) -> PosedImages:
        return replace(super().record(index), size=SIZE[::-1])


class NoBatch(Balls):
    """Pictures without the axis of the batch."""

    def views(self, index: int, cameras: list[int]) -> Views:
        views = super().views(index, cameras)
        return replace(views, images=views.images[0], alpha=views.alpha[0])


class Doubles(Balls):
    """Cameras in float64, as numpy makes them."""

    def cameras(self, index: int) -> Cameras:
        return super().cameras(index).to(torch.float64)


class Posed(Balls):
    """Changes the cameras' matrices; each copy says how."""

    def cameras(self, index: int) -> Cameras:
        cameras = super().cameras(index)
        return Cameras(self.posed(cameras.camera_to_world.clone()), cameras.intrinsics)

    def posed(self, matrices: Tensor) -> Tensor:
        raise NotImplementedError


class OpenGL(Posed):
    """Cameras with OpenGL's axes."""

    def posed(self, matrices: Tensor) -> Tensor:
        return opengl_to_opencv(matrices)


class WorldToCamera(Posed):
    """World-to-camera matrices."""

    def posed(self, matrices: Tensor) -> Tensor:
        return torch.linalg.inv(matrices)


class OpenGLWorldToCamera(Posed):
    """World-to-camera matrices with OpenGL's axes."""

    def posed(self, matrices: Tensor) -> Tensor:
        return torch.linalg.inv(opengl_to_opencv(matrices))


class Mirrored(Posed):
    """A left-handed world."""

    def posed(self, matrices: Tensor) -> Tensor:
        matrices[:, 0, :3] *= -1
        return matrices


class Sheared(Posed):
    """Rotations that scale."""

    def posed(self, matrices: Tensor) -> Tensor:
        matrices[:, :3, :3] *= 2
        return matrices


class Inside(Posed):
    """A world so small that cameras stand in the sphere."""

    def posed(self, matrices: Tensor) -> Tensor:
        matrices[:, :3, 3] /= 3
        return matrices


class Millimetres(Posed):
    """A world in millimetres: the sphere is a dot in the pictures."""

    def posed(self, matrices: Tensor) -> Tensor:
        matrices[:, :3, 3] *= 1000
        return matrices


class InPixels(Balls):
    """Intrinsics in pixels."""

    def cameras(self, index: int) -> Cameras:
        cameras = super().cameras(index)
        h, w = SIZE
        return Cameras(cameras.camera_to_world, cameras.intrinsics * torch.tensor([w, h, w, h]))


class OffCentre(Scaled):
    """Pictures were cut after their cameras were written."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images.roll(7, -1), alpha.roll(7, -1)


class UpsideDown(Scaled):
    """Pictures begin with their last row, as graphics libraries give them."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images.flip(-2), alpha.flip(-2)


class LeftRight(Scaled):
    """Pictures are mirrored."""

    def scaled(self, images: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        return images.flip(-1), alpha.flip(-1)


class Exchanged(Balls):
    """Pictures were sorted backwards, cameras were not."""

    def drawn(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        return super().drawn(index, [VIEWS - 1 - camera for camera in cameras])


class Overlapping(Balls):
    """A held-out object is trained on."""

    def splits(self) -> dict[str, list[int]]:
        return {"train": [0, 1, 2], "held_out": [2]}


class OtherNames(Balls):
    """The splits are called train and test."""

    def splits(self) -> dict[str, list[int]]:
        return {"train": [0, 1], "test": [2]}


class SplitsOfIds(Balls):
    """Splits hold ids, not indices."""

    def splits(self) -> dict[str, Any]:  # type: ignore[override]
        return {"train": ["red", "green"], "held_out": ["blue"]}


class BeyondTheEnd(Balls):
    """Indices count from 1."""

    def splits(self) -> dict[str, list[int]]:
        return {"train": [1, 2], "held_out": [3]}


class Empty(Balls):
    """Found nothing where it looked."""

    def __len__(self) -> int:
        return 0

    def splits(self) -> dict[str, list[int]]:
        return {"train": [], "held_out": []}


class NoSplits(Balls):
    """Leaves all objects to a split of its own name."""

    def splits(self) -> dict[str, list[int]]:
        return {"train": [], "held_out": []}


class TooLong(Balls):
    """Says that it has more objects than it has."""

    def __len__(self) -> int:
        return 100


class ComesRound(Balls):
    """Says that it has more objects, and gives the first ones again."""

    def __len__(self) -> int:
        return 100

    def record(self, index: int) -> PosedImages:
        return super().record(index % 3)


class LettersAsCaptions(Balls):
    """A record's captions are one string."""

    def record(self, index: int) -> PosedImages:
        return replace(super().record(index), captions="a ball")  # type: ignore[arg-type]


class NoCaptions(Balls):
    """Has no captions."""

    def record(self, index: int) -> PosedImages:
        return replace(super().record(index), captions=())


class BlankCaption(Balls):
    """A caption says nothing."""

    def record(self, index: int) -> PosedImages:
        return replace(super().record(index), captions=("a ball", " "))


class OtherCaption(Balls):
    """Views have another caption than the record."""

    def views(self, index: int, cameras: list[int]) -> Views:
        return replace(super().views(index, cameras), captions=["something"])


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

    def __init__(self) -> None:
        self.buffer = torch.zeros(0)

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
