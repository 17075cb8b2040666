"""Components for the tests of the kit that break a promise only now and then: with other numbers of views, in training,
at the second call. Each docstring says how.
"""

from dataclasses import replace
from typing import Any

import torch
from kit_parts import Field, Scene, ViewEncoder
from torch import Tensor, nn

from tunemv3d_core.testing.stand_ins import StandInAggregator, StandInField
from tunemv3d_core.types import Rendering


class SpreadsOneView(StandInAggregator):
    """Adds the standard deviation over views, which a single view does not have."""

    def forward(self, features: Tensor, *given: Any) -> Tensor:
        spread = features.std(1).mean((2, 3))[:, None]
        return super().forward(features, *given) + 0 * spread


class TakesLogarithms(ViewEncoder):
    """Is infinite for views that are given clean, at t = 0."""

    def forward(self, x_t: Tensor, t: Tensor, *given: Any) -> Tensor:
        return super().forward(x_t, t, *given) + t.log()[..., None, None, None].to(x_t.dtype)


class LooksAtTheFirstTime(ViewEncoder):
    """Takes the first view's t for all, though a view given clean has another."""

    def forward(self, x_t: Tensor, t: Tensor, *given: Any) -> Tensor:
        return super().forward(x_t, t, *given) * (1 + t[:, :1, None, None, None] / 1000).to(x_t.dtype)


class LooksBack(ViewEncoder):
    """Mixes in the view before, as if views came along an orbit."""

    def spoil(self, features: Tensor) -> Tensor:
        return features + features.roll(1, dims=1)


class TellsManyViewsApart(ViewEncoder):
    """What it says of the fifth view and those after it depends on their place."""

    def spoil(self, features: Tensor) -> Tensor:
        places = (torch.arange(features.shape[1], device=features.device) - 3).clamp(min=0).to(features.dtype)
        return features * (1 + places[:, None, None, None])


class RemembersTraining(ViewEncoder):
    """Keeps a running mean of what it saw in training, in a buffer that no checkpoint holds."""

    def begin(self) -> None:
        self.register_buffer("mean", torch.zeros(()), persistent=False)

    def spoil(self, features: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * features.detach().float().mean()
        return features - self.mean.to(features.dtype)


class SettlesAtFirstSight(ViewEncoder):
    """Scales by what the first batch showed, and keeps that to itself."""

    def begin(self) -> None:
        self.scale: Tensor | None = None

    def spoil(self, features: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = features.detach().std()
        return features / self.scale.to(features.dtype)


class HidesParameters(ViewEncoder):
    """A parameter in a list, where neither an optimizer nor a checkpoint finds it."""

    def begin(self) -> None:
        self.hidden = [nn.Parameter(torch.ones(1))]

    def spoil(self, features: Tensor) -> Tensor:
        return features * self.hidden[0].to(features.dtype)


class EditsItsInput(ViewEncoder):
    """Rounds x_t in its place."""

    def forward(self, x_t: Tensor, *given: Any) -> Tensor:
        return super().forward(x_t.round_(), *given)


class Reseeds(ViewEncoder):
    """Sets the seed of all random numbers, so that every step draws the same."""

    def spoil(self, features: Tensor) -> Tensor:
        torch.manual_seed(0)
        return features


class ReseedsWhenBuilt(ViewEncoder):
    """Sets the seed of all random numbers while it is built."""

    def begin(self) -> None:
        torch.manual_seed(0)


class ChangesTorch(ViewEncoder):
    """Changes how everybody's products are computed."""

    def spoil(self, features: Tensor) -> Tensor:
        torch.set_float32_matmul_precision("medium")
        return features


class Panics(ViewEncoder):
    """Raises what is no Exception, as extensions in other languages do."""

    def spoil(self, features: Tensor) -> Tensor:
        raise type("Panic", (BaseException,), {})("at the disco")


class KnowsNoNormals(Field):
    """Its scene takes no argument ``normals``."""

    def fuse(self, *given: Any) -> Any:
        return PlainScene(**vars(StandInField.fuse(self, *given)))


class PlainScene(Scene):
    def render(self, cameras: Any, size: Any, pixels: Tensor | None = None) -> Rendering:  # type: ignore[override]
        return super().render(cameras, size, pixels)


class NormalsLast(Field):
    """The axis of normals comes last."""

    def rendered(self, rendering: Rendering, pixels: Tensor | None) -> Rendering:
        return replace(rendering, normals=torch.stack([rendering.opacity] * 3, -1))


class DistanceKeepsAnAxis(Field):
    """Its signed distance has one axis too many."""

    def fuse(self, *given: Any) -> Any:
        return SDFScene(**vars(StandInField.fuse(self, *given)))


class SDFScene(Scene):
    def signed_distance(self, points: Tensor) -> Tensor:
        return points.norm(dim=-1, keepdim=True) - 0.5


class TakesOurName(Field):
    """Its scene's loss is called as L_denoise is."""

    names = ("denoise", "denoise")

    def fuse(self, *given: Any) -> Any:
        scene = LossScene(**vars(StandInField.fuse(self, *given)))
        scene.name = self.names[not self.training]
        return scene


class RegularisesInTrainingAlone(TakesOurName):
    """Its scene's loss has another name in evaluation."""

    names = ("smoothness", "roughness")


class LossScene(Scene):
    name = ""

    def losses(self) -> dict[str, Tensor]:
        return {self.name: self.field.layer.weight.square().mean()}


class OpacityAboveOne(Field):
    """Opacity counts hits."""

    def rendered(self, rendering: Rendering, pixels: Tensor | None) -> Rendering:
        return replace(rendering, opacity=5 * rendering.opacity)


class DepthBehind(Field):
    """Depth grows towards the camera."""

    def rendered(self, rendering: Rendering, pixels: Tensor | None) -> Rendering:
        return replace(rendering, depth=-rendering.depth)


class CountsOnCells(StandInAggregator):
    """Reads a cell that only features of the latents' own resolution have."""

    def forward(self, features: Tensor, *given: Any) -> Tensor:
        return super().forward(features, *given) + 0 * features[..., 6, 7].mean(1)[:, None]
