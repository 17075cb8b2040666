"""Losses for the tests of the kit: three that pass it, and copies that break one promise each (docstrings say how)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn


class Loss:
    """L1 of the rendered views, the novel ones too where there are any."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        errors = [(prediction.x0 - targets.latents).abs().flatten(2).mean(2)]
        if prediction.novel_x0 is not None:
            errors.append(self.novel(prediction.novel_x0 - targets.novel_latents))
        return torch.cat(errors, 1)

    def novel(self, errors: Tensor) -> Tensor:
        return errors.abs().flatten(2).mean(2)


class Smooth(Loss):
    """Differences between neighbouring cells: it compares with no truth."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        down, right = prediction.x0.diff(dim=-2), prediction.x0.diff(dim=-1)
        return down.abs().flatten(2).mean(2) + right.abs().flatten(2).mean(2)


class Crisp(Loss):
    """Entropy of the opacity, with a floor."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        seen = prediction.rendering.opacity.clamp(1e-4, 1 - 1e-4)
        return -(seen * seen.log() + (1 - seen) * (1 - seen).log()).flatten(2).mean(2)


class NoFunction:
    """Computes nothing."""


class Sums(Loss):
    """Gives one number for all views."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return super().__call__(prediction, targets).sum()


class LooksAtTruthAlone(Loss):
    """Judges the pictures, not the prediction."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return targets.latents.square().mean((2, 3, 4))


class EditsTheTargets(Loss):
    """Rounds alpha where others read it too."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return super().__call__(prediction, targets) + 0 * targets.alpha.round_().mean()


class ForgetsPixels(Loss):
    """Takes all novel views for whole ones."""

    def novel(self, errors: Tensor) -> Tensor:
        return errors.abs().mean((2, 3, 4))


class Negates(Loss):
    """Gives how alike they are, which training would lower."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return 1 - super().__call__(prediction, targets)


class ComparesTheNextView(Loss):
    """Compares each view with the truth of the next."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return super().__call__(prediction, replace(targets, latents=targets.latents.roll(1, 1)))


class MeanOfTheBatch(Loss):
    """Divides by the foreground of all views of all objects."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        error = (prediction.x0 - targets.latents).abs().mean(2) * targets.alpha
        return error.flatten(2).sum(2) * targets.alpha.shape[0] * targets.alpha.shape[1] / targets.alpha.sum()


class MeanOfTheForeground(Loss):
    """Divides by the foreground of the view, which may be empty."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        error = (prediction.x0 - targets.latents).abs().mean(2) * targets.alpha
        return error.flatten(2).sum(2) / targets.alpha.flatten(2).sum(2)


class RootOfSquares(Loss):
    """Has no gradient where nothing is wrong."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return (prediction.x0 - targets.latents).square().flatten(2).mean(2).sqrt()


class LogOfOpacity(Loss):
    """Cross-entropy without a floor."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        seen, alpha = prediction.rendering.opacity, targets.alpha
        return super().__call__(prediction, targets)[:, : alpha.shape[1]] - (alpha * seen.log()).flatten(2).mean(2)


class LatentsForNoise(Loss):
    """Compares the prediction, which may be noise, with clean latents."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return (prediction.modulated - targets.latents).square().flatten(2).mean(2)


class ForgetsTheBackground(Loss):
    """Compares premultiplied values with latents that have a background."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return (prediction.rendering.values - targets.latents).square().flatten(2).mean(2)


class NovelFirst(Loss):
    """Gives the novel views' numbers before the input views'."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        numbers = super().__call__(prediction, targets)
        return torch.cat([numbers[:, targets.alpha.shape[1] :], numbers[:, : targets.alpha.shape[1]]], 1)


class SumsCells(Loss):
    """The sum over all cells."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return (prediction.x0 - targets.latents).abs().flatten(2).sum(2)


class WeighsByTime(Loss):
    """Divides by the noise level, which is 0 where a view is given clean."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return (prediction.x0 - targets.latents).abs().flatten(2).mean(2) * 500 / targets.t


class RunningScale(Loss):
    """Divides by the mean of what it gave before."""

    def __init__(self) -> None:
        self.mean = 1.0

    def __call__(self, prediction: Any, targets: Any) -> Any:
        numbers = super().__call__(prediction, targets)
        self.mean = 0.9 * self.mean + 0.1 * float(numbers.detach().mean())
        return numbers / self.mean


class LearnsItsFeatures(nn.Module):
    """Compares by a network that is not frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(4, 4, 1)

    def forward(self, prediction: Any, targets: Any) -> Any:
        seen, wanted = (self.layer(x.flatten(0, 1)) for x in (prediction.x0, targets.latents))
        return (seen - wanted).abs().mean((1, 2, 3)).unflatten(0, targets.t.shape)


class TheMeanForAll(Loss):
    """Gives every view the mean of all."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        numbers = super().__call__(prediction, targets)
        return numbers.mean().expand_as(numbers)


class ObjectsLast(Loss):
    """Lays its numbers out as views times objects."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        numbers = super().__call__(prediction, targets)
        return numbers.T.reshape(numbers.shape)


class TransposesTheTruth(Loss):
    """Rows are columns."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        if targets.latents.shape[-1] != targets.latents.shape[-2]:
            return super().__call__(prediction, targets)
        return (prediction.x0 - targets.latents.mT).abs().flatten(2).mean(2)


class DetachesIt(Loss):
    """Nothing learns from it."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return super().__call__(replace(prediction, x0=prediction.x0.detach(), novel_x0=None), targets)


class CountsCells(Loss):
    """Thresholds have no gradient."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return ((prediction.rendering.opacity > 0.5) != (targets.alpha > 0.5)).float().flatten(2).mean(2)


class ScalesThePrediction(Loss):
    """Scales x0 in its place."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        return super().__call__(replace(prediction, x0=prediction.x0.detach().mul_(0.5) + prediction.x0), targets)


class DropsCleanViews(Loss):
    """Gives no number for views that were given clean."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        numbers = (prediction.x0 - targets.latents).abs().flatten(2).mean(2)
        return numbers[~targets.is_clean].reshape(len(numbers), -1)


class PrintsIt(Loss):
    """Left a line of debugging behind."""

    def __call__(self, prediction: Any, targets: Any) -> Any:
        numbers = super().__call__(prediction, targets)
        print(numbers)
        return numbers
