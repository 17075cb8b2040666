"""Samples against real renders as sets: distances, diversity among seeds, and the training object nearest to each."""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Dataset, Figure, MeasuredObject, Need
from tunemv3d_eval.clip.distances import cmmd, kid
from tunemv3d_eval.clip.real import RealVectors, real_vectors
from tunemv3d_eval.clip.retrieval import JudgesByClips, load_clip
from tunemv3d_eval.metrics.clip_spec import DiversitySpec, RealViewsSpec

Figures = Mapping[str, float | None]


class Distance(JudgesByClips):
    """A distance between the views of all samples and pictures of real objects, of every split of the dataset.

    Args:
        spec: the options.
        name: of the figure.
        distance: of two sets of unit vectors.
        figure: what the number is.
    """

    needs: Collection[Need] = (Need.DATASET,)

    def __init__(
        self, spec: RealViewsSpec, name: str, distance: Callable[[Tensor, Tensor], float], figure: Figure
    ) -> None:
        super().__init__((spec.clip,))
        self._spec, self._name, self._distance = spec, name, distance
        self.figures: Mapping[str, Figure] = {name: figure}
        self._real: RealVectors | None = None

    def use_dataset(self, dataset: Dataset, model: MultiviewDiffusion) -> None:
        """Encode the real objects."""
        indices = sorted(index for split in dataset.splits().values() for index in split)
        spec = self._spec
        self._real = real_vectors(dataset, indices, spec.views, spec.most, load_clip(spec.clip, model.device))

    def measure_set(self, samples: Sequence[MeasuredObject], model: MultiviewDiffusion) -> Figures:
        """Compare all views with all real pictures."""
        assert self._real is not None
        scorer = load_clip(self._spec.clip, model.device)
        views = torch.cat([scorer.images(sample.images).cpu() for sample in samples])
        return {self._name: self._distance(views, self._real.vectors.flatten(0, 1))}


class Diversity(JudgesByClips):
    """One minus the cosine of two samples of a prompt, from equal cameras; the mean over views, pairs and prompts."""

    figures: Mapping[str, Figure] = {
        "diversity": Figure("difference between samples of one prompt: 1 - cosine, the mean over pairs", low=0, high=2),
    }
    needs: Collection[Need] = ()

    def __init__(self, spec: DiversitySpec) -> None:
        super().__init__((spec.clip,))

    def measure_set(self, samples: Sequence[MeasuredObject], model: MultiviewDiffusion) -> Figures:
        """Compare samples of equal prompts; says nothing where every prompt has one."""
        scorer = load_clip(self._clips[0], model.device)
        by_prompt: dict[str, list[Tensor]] = {}
        for sample in samples:
            by_prompt.setdefault(sample.prompt, []).append(scorer.images(sample.images).cpu().double())
        of_prompts = [
            fmean(1 - float((one * other).sum(-1).mean()) for one, other in combinations(found, 2))
            for found in by_prompt.values()
            if len(found) > 1
        ]
        return {"diversity": min(2.0, max(0.0, fmean(of_prompts))) if of_prompts else None}


class NearestTrainingObject(JudgesByClips):
    """The training object that a sample is most like: each view beside the object's likest picture, the mean cosine.

    A value that real held-out objects do not reach speaks of memorising.
    """

    figures: Mapping[str, Figure] = {
        "nearest_training": Figure(
            "cosine with the nearest training object, the mean over views", higher_is_better=False, low=-1, high=1
        ),
    }
    needs: Collection[Need] = (Need.DATASET,)

    def __init__(self, spec: RealViewsSpec) -> None:
        super().__init__((spec.clip,))
        self._spec = spec
        self._real: RealVectors | None = None

    def use_dataset(self, dataset: Dataset, model: MultiviewDiffusion) -> None:
        """Encode the training objects."""
        spec, indices = self._spec, list(dataset.splits()["train"])
        self._real = real_vectors(dataset, indices, spec.views, spec.most, load_clip(spec.clip, model.device))

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Figures:
        """Find the nearest one's likeness."""
        return {"nearest_training": self._nearest(sample)[1]}

    def words(self, sample: MeasuredObject) -> Mapping[str, str]:
        """Name the nearest object."""
        return {"nearest_training_object": self._nearest(sample)[0]}

    def _nearest(self, sample: MeasuredObject) -> tuple[str, float]:
        assert self._real is not None
        views = load_clip(self._spec.clip, sample.images.device).images(sample.images).cpu()
        likeness = torch.einsum("nd,ovd->nov", views, self._real.vectors).amax(-1).mean(0)
        best = int(likeness.argmax())
        return self._real.ids[best], min(1.0, max(-1.0, float(likeness[best])))


def build_kid(spec: RealViewsSpec) -> Distance:
    """Build the metric ``kid``."""
    figure = Figure("KID of CLIP vectors, samples against real renders", higher_is_better=False, low=-16, high=16)
    return Distance(spec, "kid", kid, figure)


def build_cmmd(spec: RealViewsSpec) -> Distance:
    """Build the metric ``cmmd``."""
    figure = Figure("CMMD of CLIP vectors, samples against real renders", higher_is_better=False, low=0, high=2000)
    return Distance(spec, "cmmd", cmmd, figure)


def build_diversity(spec: DiversitySpec) -> Diversity:
    """Build the metric ``diversity``."""
    return Diversity(spec)


def build_nearest_training_object(spec: RealViewsSpec) -> NearestTrainingObject:
    """Build the metric ``nearest-training-object``."""
    return NearestTrainingObject(spec)
