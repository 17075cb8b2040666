"""Interfaces of metrics, the objects that they measure and the figures that they give."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.slots.datasets import Dataset


@dataclass(frozen=True)
class MeasuredObject:
    """One finished object, as metrics see it: sampled views, or real ones that passed the model's autoencoder.

    Attributes:
        prompt: what was asked for, or the caption of real views.
        images: the decoded views, ``n 3 H W`` in [-1, 1], on white.
        silhouettes: ``n H W``, boolean: pixels that show the object.
        latents: ``n c h w``, clean.
        cameras: ``n``.
        opacity: of the field that was fused from the views, from the same cameras, ``n h w`` in [0, 1]; None without a
            field.
        renders: the field's renders from the same cameras, decoded, like ``images``; None without a field that gives
            latents.
        record: what the dataset knows of a real object; None of one that was sampled from a prompt.
    """

    prompt: str
    images: Tensor
    silhouettes: Tensor
    latents: Tensor
    cameras: Cameras
    opacity: Tensor | None = None
    renders: Tensor | None = None
    record: PosedImages | None = None

    def to(self, device: str | torch.device) -> Self:
        """Move every tensor."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: v.to(device) for n, v in held.items() if isinstance(v, Tensor | Cameras)}
        return replace(self, **moved)


class Need(StrEnum):
    """Data that a metric may need beside the views, their cameras and the prompt."""

    FIELD = "field"
    """A model with a field, so that ``MeasuredObject.opacity`` is there."""
    RENDERS = "renders"
    """A field that gives latents, so that ``MeasuredObject.renders`` is there."""
    NOVEL_VIEWS = "novel_views"
    """A field that renders cameras that it did not see."""
    RECORD = "record"
    """An object of a dataset, so that ``MeasuredObject.record`` is there."""
    SURFACE = "surface"
    """A field whose scenes have a signed distance."""
    DATASET = "dataset"
    """Real objects to compare with: the metric has ``use_dataset`` (``ComparesWithReal``)."""


@dataclass(frozen=True)
class Figure:
    """Description of one of a metric's numbers.

    Attributes:
        summary: what the number is, one line, with its unit.
        higher_is_better: the direction.
        low: the smallest value that can be.
        high: the largest.

    Raises:
        ValueError: no summary, or an empty range.
    """

    summary: str
    higher_is_better: bool = True
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.summary.strip() or "\n" in self.summary:
            raise ValueError("a figure's summary should be one line that says what the number is")
        if not self.low < self.high:
            raise ValueError(f"a figure's range should not be empty, got {self.low:g} to {self.high:g}")

    def error(self, value: Any) -> str | None:
        """Return an error in a value, if any; follows the figure's name in a sentence."""
        if value is None:  # the figure says nothing of this object
            return None
        if not isinstance(value, int | float):
            return f"is {value!r:.60}, not a number or None"
        if not math.isfinite(value):
            return f"is {value}, not finite"
        if not self.low <= value <= self.high:
            return f"is {value:g}, not between {self.low:g} and {self.high:g} as declared"
        return None


def figures_error(declared: Mapping[str, Figure], given: Any) -> str | None:
    """Return an error in the figures that a metric gave, if any: other names than it declares, or a bad value."""
    if not isinstance(given, Mapping):
        return f"gives {given!r:.60}, not figures by name"
    if given.keys() != declared.keys():
        return f"gives {', '.join(map(str, given)) or 'nothing'}, but declares {', '.join(declared)}"
    errors = [f"'{name}' {error}" for name, figure in declared.items() if (error := figure.error(given[name]))]
    return "; ".join(errors) or None


@runtime_checkable
class ObjectMetric(Protocol):
    """Measures one object at a time; built by ``build(spec)``. What is reported of several objects is the mean.

    It changes nothing that it is given, and its figures depend on nothing else: not on objects before, nor on torch's
    random generator. It is called without gradients.
    """

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The numbers that it gives, by their names in the report."""
        ...

    @property
    def needs(self) -> Collection[Need]:
        """Data that must be there; where something is not, the metric is left out with that reason."""
        ...

    def measure(self, sample: MeasuredObject, model: Any) -> Mapping[str, float | None]:
        """Measure an object: every declared figure, None for one that says nothing of this object.

        Args:
            sample: the object.
            model: the ``MultiviewDiffusion`` that it comes from.
        """
        ...


@runtime_checkable
class SetMetric(Protocol):
    """Measures all objects of a set together, such as the samples of all prompts at one K; else as ``ObjectMetric``.

    Its figures do not depend on the order of the objects.
    """

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The numbers that it gives, by their names in the report."""
        ...

    @property
    def needs(self) -> Collection[Need]:
        """Data that must be there of every object."""
        ...

    def measure_set(self, samples: Sequence[MeasuredObject], model: Any) -> Mapping[str, float | None]:
        """Measure a set: every declared figure, None for one that says nothing of it.

        Args:
            samples: all objects, whose tensors lie on the CPU.
            model: the ``MultiviewDiffusion`` that they come from, on its own device.
        """
        ...


@runtime_checkable
class ComparesWithReal(Protocol):
    """A metric that needs real objects (``Need.DATASET``). Optional, beside either of the other two."""

    def use_dataset(self, dataset: Dataset, model: Any) -> None:
        """Read what it compares with; called once, before the first object is measured.

        Args:
            dataset: of the checkpoint that is evaluated, or another that was asked for.
            model: the ``MultiviewDiffusion`` that is evaluated.
        """
        ...


def metric_error(metric: Any) -> str | None:
    """Return an error in a built metric, if any: neither or both protocols, or a declaration that is none."""
    if isinstance(metric, ObjectMetric) == isinstance(metric, SetMetric):
        return "should have 'figures', 'needs' and either 'measure' (an object at a time) or 'measure_set'"
    if not metric.figures or not all(isinstance(figure, Figure) for figure in metric.figures.values()):
        return f"should hold a Figure by each name in 'figures', got {metric.figures!r:.100}"
    if unknown := [need for need in metric.needs if need not in list(Need)]:
        return f"needs {unknown[0]!r}; what can be needed: {', '.join(Need)}"
    if (Need.DATASET in metric.needs) != isinstance(metric, ComparesWithReal):
        return "should have 'use_dataset' and need 'dataset', or neither"
    return None
