"""Injectors for the tests of the kit: the stand-in, and copies that break one promise each. Each docstring says how."""

from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.testing.stand_ins import StandInInjector
from tunemv3d_core.types import Skips


class Injector(StandInInjector):
    """Calls ``residual`` for each level."""

    def __init__(self, maps: Any, residuals: Any) -> None:
        super().__init__(maps, residuals)
        self.begin()

    def begin(self) -> None:
        pass

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        return tuple(self.residual(k, lifted, skips.maps[k]) for k, lifted in enumerate(maps))

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        residual: Tensor = self.layers[level](lifted)
        return residual


class StartsAnywhere(Injector):
    """Changes the frozen model from the first step on."""

    def begin(self) -> None:
        for layer in self.layers:
            layer.reset_parameters()


class BiasStartsAnywhere(Injector):
    """The weights start at zero, the biases do not."""

    def begin(self) -> None:
        for layer in self.layers:
            nn.init.uniform_(layer.bias, -0.1, 0.1)


class GivesTheSum(Injector):
    """Gives the skip with the residual added, which the decoder adds once more."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return skip + super().residual(level, lifted, skip)


class ScalesByOne(Injector):
    """Scales the skip by 1 plus what it learned, as if that replaced the skip."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return (1 + super().residual(level, lifted, skip)) * skip


class ZeroTimesZero(Injector):
    """A gate that starts at zero lets no gradient through to weights that start at zero."""

    def begin(self) -> None:
        self.gate = nn.Parameter(torch.zeros(3))

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return self.gate[level] * super().residual(level, lifted, skip)


class RectifiesZero(Injector):
    """A ReLU of zero has no gradient."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted, skip).relu()


class DetachesMaps(Injector):
    """What lifts learns nothing."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted.detach(), skip)


class ForgetsTheMiddle(Injector):
    """The last level gets zeros."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        residual = super().residual(level, lifted, skip)
        return residual if level < 2 else 0 * residual


class SwapsLevels(Injector):
    """Maps of equal shapes go to each other's level."""

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        return super().forward((maps[0], maps[2], maps[1]), skips)


class CellsByColumn(Injector):
    """Cells are flattened row by row and laid out column by column."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        h, w = skip.shape[-2:]
        return super().residual(level, lifted, skip).flatten(2).unflatten(2, (w, h)).mT


class MirrorsMaps(Injector):
    """Left is right."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted.flip(-1), skip)


class ShiftsMaps(Injector):
    """Pads on one side alone, so that everything lands one cell farther down."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return nn.functional.pad(super().residual(level, lifted, skip), (0, 0, 1, 0))[..., :-1, :]


class LosesThePlace(Injector):
    """Averages a map over all its cells."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted.mean((2, 3), keepdim=True), skip).expand_as(skip)


class AddsInPlace(Injector):
    """Adds to the frozen model's maps themselves."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        residual = super().residual(level, lifted, skip)
        skip.add_(0.5 * skip)
        return residual


class DividesBySkips(Injector):
    """Divides the skip by its size, which may be zero."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted, skip) * (skip / skip.norm(dim=1, keepdim=True))


class NormalisesOverTheBatch(Injector):
    """Batch normalisation over the views of all objects."""

    def begin(self) -> None:
        self.norms = nn.ModuleList(nn.BatchNorm2d(m.channels) for m in self.ports.maps)

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, self.norms[level](lifted), skip)


class LooksAtTheViewBefore(Injector):
    """Mixes views along the batch's axis."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted + 0.5 * lifted.roll(1, 0), skip)


class DropsInEvaluation(Injector):
    """Drops cells in evaluation, too."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, nn.functional.dropout(lifted, 0.1), skip)


class ScalesMapsInPlace(Injector):
    """Edits the maps that it is given."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted.mul_(0.5), skip)


class RemembersItsScale(Injector):
    """Scales by the largest map that it ever saw."""

    def begin(self) -> None:
        self.largest = 1.0

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        self.largest = max(self.largest, float(lifted.detach().abs().max()))
        return super().residual(level, lifted / self.largest, skip)


class Prints(Injector):
    """Left a line of debugging behind."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        print("residual", level, tuple(lifted.shape))
        return super().residual(level, lifted, skip)


class FirstChannelAlone(Injector):
    """Looks at the first channel of each map."""

    def residual(self, level: int, lifted: Tensor, skip: Tensor) -> Tensor:
        return super().residual(level, lifted[:, :1].expand_as(lifted), skip)
