"""Metrics for the tests of the kit: three that pass it, and copies that break one promise each."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tunemv3d_core.slots import Dataset, Figure, MeasuredObject, Need

Figures = Mapping[str, float | None]


class Brightness:
    """The mean of all pixels."""

    figures: Mapping[str, Figure] = {"brightness": Figure("mean of all pixels, 0 black, 1 white", low=0, high=1)}
    needs: tuple[Any, ...] = (Need.RECORD,)

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"brightness": float((sample.images + 1).mean() / 2)}


class MeanBrightness:
    """The mean of a set's pixels."""

    figures = Brightness.figures
    needs = ()

    def measure_set(self, samples: Sequence[MeasuredObject], model: Any) -> Figures:
        return {"brightness": sum((float((s.images + 1).mean() / 2) for s in samples), 0.0) / len(samples)}


class FirstBrightness(MeanBrightness):
    """That of the first object alone."""

    def measure_set(self, samples: Sequence[MeasuredObject], model: Any) -> Figures:
        return super().measure_set(samples[:1], model)


class BrighterThanReal(Brightness):
    """How much brighter an object's pixels are than those of the training objects, whose pictures it reads before."""

    figures: Mapping[str, Figure] = {"brighter": Figure("difference of the means of pixels", low=-1, high=1)}
    needs = (Need.DATASET,)

    def use_dataset(self, dataset: Dataset, model: Any) -> None:
        views = [dataset.views(index, [0, 3, 6]).images for index in dataset.splits()["train"]]
        assert all(dataset.record(index).views >= 7 for index in range(len(dataset)))
        self.real = float(torch.cat(views).mean())

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"brighter": (float(sample.images.mean()) - self.real) / 2}


class AddsToTheReal(BrighterThanReal):
    """Takes the objects that it measures for real ones."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        figures = super().measure(sample, model)
        self.real = 0.5 * self.real + 0.5 * float(sample.images.mean())
        return figures


class NeedsMore(Brightness):
    """Needs what no sample has."""

    needs = ("weight",)


class MeasuresTwice(Brightness, MeanBrightness):
    """Measures objects and sets under the same names."""

    needs = ()


class GivesMore(Brightness):
    """Gives a number that it does not declare."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {**super().measure(sample, model), "darkness": 0.0}


class BrightnessOfTheObject(Brightness):
    """Is no number where a view is blank."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"brightness": float(((sample.images + 1) / 2).movedim(1, -1)[sample.silhouettes].mean())}


class BrightnessInLevels(Brightness):
    """Lies outside its range."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"brightness": float((sample.images + 1).mean() * 127.5)}


class Guesses(Brightness):
    """Looks at pixels drawn from the common random generator."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        pixels = sample.images.flatten()
        return {"brightness": float((pixels[torch.randint(len(pixels), (50,))] + 1).mean() / 2)}


class RemembersBrightness(Brightness):
    """The mean of this object and those before."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        self.seen.append(float((sample.images + 1).mean() / 2))
        return {"brightness": sum(self.seen) / len(self.seen)}


class Dims(Brightness):
    """Scales the pictures in their place."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"brightness": float(sample.images.add_(1).div_(2).mean())}


class Tunes(Brightness):
    """Changes the model."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        next(model.parameters()).data.add_(1)
        return super().measure(sample, model)
