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


class LooksAtOpacity(Brightness):
    """Reads the field's opacity, and does not say that it needs a field."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        assert sample.opacity is not None
        return {"brightness": float(sample.opacity.mean())}


class ReadsTheCaption(Brightness):
    """Reads the object's record, and does not say so."""

    needs = ()

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        assert sample.record is not None
        return {"brightness": 1.0 / len(sample.record.captions)}


class FusesUnasked(Brightness):
    """Fuses the model's field, and does not say that it needs one."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        text = model.backbone.encode_text([sample.prompt])
        t = torch.full((1, len(sample.latents)), 50.0)
        seen = model.fuse(sample.latents[None], t, text, sample.cameras[None]).render(sample.cameras[None], (4, 4))
        return {"brightness": float(seen.opacity.mean())}


class LeavesTraining(Brightness):
    """Trains a little, and forgets to end that."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        model.train()
        return super().measure(sample, model)


class LeavesGradients(Brightness):
    """Asks the model for gradients, and leaves them there."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        model.requires_grad_(True)
        with torch.enable_grad():
            next(model.parameters()).sum().backward()
        return super().measure(sample, model)


class SeedsAll(Brightness):
    """Draws the same pixels at every call, by the seed of all random numbers."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        torch.manual_seed(0)
        pixels = sample.images.flatten()
        return {"brightness": float((pixels[torch.randint(len(pixels), (50,))] + 1).mean() / 2)}


class ThreeViews(Brightness):
    """Weighs three views."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        views = (sample.images + 1).mean((1, 2, 3)) / 2
        return {"brightness": float((views * torch.tensor([0.25, 0.5, 0.25])).sum())}


class SquarePictures(Brightness):
    """Weighs columns by a window as long as a row is high."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        window = torch.hann_window(sample.images.shape[-2])
        return {"brightness": float(((sample.images + 1) / 2 * window).mean())}


class Contrast(Brightness):
    """Divides by the deviation of the object's pixels, which have none in one colour."""

    figures: Mapping[str, Figure] = {"contrast": Figure("mean of all pixels in their standard deviations")}

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        pixels = sample.images.movedim(1, -1)[sample.silhouettes]
        if not len(pixels):
            return {"contrast": None}
        return {"contrast": float(pixels.mean() / (pixels - pixels[0]).std())}


class FirstView(Brightness):
    """That of the first view alone."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"brightness": float((sample.images[0] + 1).mean() / 2)}


class NeighbouringViews(Brightness):
    """How alike a view and the next are, as if views came along an orbit."""

    figures: Mapping[str, Figure] = {"steps": Figure("mean difference of a view and the next", higher_is_better=False)}

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"steps": float(sample.images.diff(dim=0).abs().mean()) if len(sample.images) > 1 else None}


class KeepsByPrompt(Brightness):
    """Keeps its figures by the prompt, which several objects may have."""

    def __init__(self) -> None:
        self.kept: dict[str, Figures] = {}

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return self.kept.setdefault(sample.prompt, super().measure(sample, model))


class GivesATensor(Brightness):
    """Gives a tensor, which no report can hold."""

    def measure(self, sample: MeasuredObject, model: Any) -> Any:
        return {"brightness": (sample.images + 1).mean() / 2}


class PrintsFigures(Brightness):
    """Left a line of debugging behind."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        print(sample.prompt)
        return super().measure(sample, model)


class ChangesPrecision(Brightness):
    """Makes everybody's products coarse."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        torch.set_float32_matmul_precision("medium")
        return super().measure(sample, model)


class LastView(Brightness):
    """That of the last view alone."""

    def measure(self, sample: MeasuredObject, model: Any) -> Figures:
        return {"brightness": float((sample.images[-1] + 1).mean() / 2)}
