"""Lifters for the tests of the kit: the stand-in, and copies that break one promise each. Each docstring says how."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.testing.stand_ins import StandInLifter
from tunemv3d_core.types import Text


class Lifter(StandInLifter):
    """Calls ``spoil`` on each map; its maps depend on t and the prompt."""

    def __init__(self, backbone: Any, field: Any) -> None:
        super().__init__(backbone, field)
        self.words = nn.Linear(backbone.text_channels, field.values)
        self.begin()

    def begin(self) -> None:
        pass

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        words = self.words(self.tokens(text, values.shape[1]).mean(1)).unflatten(0, values.shape[:2])
        level = torch.cos(self.time(t) / 500).to(values.dtype)
        maps = super().forward(values + (words * level[..., None])[..., None, None], x_t, t, text)
        return tuple(self.spoil(each, k) for k, each in enumerate(maps))

    def tokens(self, text: Text, views: int) -> Tensor:
        return text.per_view(views).tokens

    def time(self, t: Tensor) -> Tensor:
        return t

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        return lifted


class RepeatsPrompts(Lifter):
    """Repeats all prompts in turn, not each for its object's views."""

    def tokens(self, text: Text, views: int) -> Tensor:
        return text.tokens.repeat(views, 1, 1)


class FirstTime(Lifter):
    """Takes the first view's t for all views."""

    def time(self, t: Tensor) -> Tensor:
        return t[:, :1].expand_as(t)


class LogOfTime(Lifter):
    """Is infinite at t = 0, for views that are given clean."""

    def time(self, t: Tensor) -> Tensor:
        return 100 * t.log()


class CachesTokens(Lifter):
    """Encodes the first prompts that it sees, and keeps them as long as as many come."""

    def begin(self) -> None:
        self.kept: dict[int, Tensor] = {}

    def tokens(self, text: Text, views: int) -> Tensor:
        return self.kept.setdefault(len(text.tokens) * views, super().tokens(text, views).detach())


class CachesTimes(Lifter):
    """Keeps the levels of the first step."""

    def begin(self) -> None:
        self.kept: dict[Any, Tensor] = {}

    def time(self, t: Tensor) -> Tensor:
        return self.kept.setdefault(t.shape, t)


class ObjectsLast(Lifter):
    """Lays maps out as views times objects."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        n = 3 if len(lifted) % 3 == 0 else len(lifted)
        return lifted.unflatten(0, (-1, n)).transpose(0, 1).flatten(0, 1)


class TransposesMaps(Lifter):
    """Rows are columns."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        h, w = lifted.shape[-2:]
        return lifted.mT.flatten(2).unflatten(2, (h, w))


class TurnsMaps(Lifter):
    """Maps stand on their head."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        return lifted.flip(-2, -1)


class ShiftsFinest(Lifter):
    """The finest map is one cell off."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        return lifted.roll(1, -1) if level == 0 else lifted


class AveragesCells(Lifter):
    """The coarse maps show one number for all cells."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        return lifted if level == 0 else lifted.mean((2, 3), keepdim=True).expand_as(lifted).contiguous()


class LiftsNoiseAlone(Lifter):
    """The coarse maps are those of x_t, not of the field's values."""

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        return (*super().forward(values, x_t, t, text)[:1], *super().forward(0 * values, x_t, t, text)[1:])


class ClampsLatents(Lifter):
    """Takes latents for pictures in -1 to 1."""

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        return super().forward(values.clamp(-1, 1), x_t, t, text)


class EditsNoise(Lifter):
    """Scales x_t in its place."""

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        return super().forward(values, x_t.mul_(0.5), t, text)


class NormalisesAllViews(Lifter):
    """Batch normalisation over the views of all objects."""

    def begin(self) -> None:
        self.norms = nn.ModuleList(nn.BatchNorm2d(m.channels) for m in self.ports.maps)

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        normalised: Tensor = self.norms[level](lifted)
        return normalised


class FixedPositions(Lifter):
    """Learned positions of 64 cells are cut or wrapped for other sizes."""

    def begin(self) -> None:
        self.places = nn.Parameter(torch.zeros(8, 8, 8))

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        return lifted + self.places if level == 0 else lifted


class BorrowsTheEncoder(Lifter):
    """Trains the backbone's own encoder instead of a copy."""

    backbone: Any = None

    def begin(self) -> None:
        self.encoder = self.backbone.encoder.requires_grad_(True)

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        encoded: tuple[Tensor, ...] = self.encoder(values, t, text)
        return encoded


class ScalesTheBackbone(Lifter):
    """Divides the backbone's first layer by two while it is built, for its own comfort."""

    backbone: Any = None

    def begin(self) -> None:
        self.backbone.encoder.conv_in.weight.data.mul_(0.5)


class HalvesPrecision(Lifter):
    """Computes in bfloat16 and gives that."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        return lifted.bfloat16()


class ResizesByBorders(Lifter):
    """Swaps height and width where it resizes the coarse maps."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        h, w = lifted.shape[-2:]
        return F.interpolate(lifted, size=(w, h)) if level else lifted


class SometimesNaN(Lifter):
    """Now and then divides by almost nothing."""

    def spoil(self, lifted: Tensor, level: int) -> Tensor:
        mean = lifted.float().mean()
        return lifted / torch.where(mean.abs() < 0.003, 0 * mean, 1 + 0 * mean).to(lifted.dtype)


class RoundsDown(Lifter):
    """Maps of sizes that the strides do not divide are too small."""

    def forward(self, values: Tensor, *given: Any) -> tuple[Tensor, ...]:
        maps = super().forward(values, *given)
        sizes = [[length // port.stride for length in values.shape[-2:]] for port in self.ports.maps]
        return tuple(each[..., :h, :w] for each, (h, w) in zip(maps, sizes, strict=True))


class CutsOff(Lifter):
    """Nothing before it learns from it."""

    def forward(self, values: Tensor, *given: Any) -> tuple[Tensor, ...]:
        return super().forward(values.detach(), *given)


class ReversesViews(Lifter):
    """Takes x_t of the views in reversed order."""

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        return super().forward(values, x_t.flip(1), t, text)


class NoiseUpsideDown(Lifter):
    """x_t stands on its head beside the values."""

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        return super().forward(values, x_t.flip(-2), t, text)
