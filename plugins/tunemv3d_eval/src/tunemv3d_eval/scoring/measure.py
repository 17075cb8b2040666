"""Finished views as objects that can be measured, and the metrics at work on them."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DWarning
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.sampling import fuse_clean
from tunemv3d_core.slots import MeasuredObject, ObjectMetric, SetMetric, figures_error
from tunemv3d_core.types import Text
from tunemv3d_eval.metrics.silhouettes import silhouettes
from tunemv3d_eval.scoring.chosen import Chosen, ChosenMetric, lacking

Figures = dict[str, float | None]
"""Figures of one object or of a set; None where one does not apply (no field, no novel views, no colour named)."""


@torch.no_grad()
def finished_objects(
    model: MultiviewDiffusion,
    latents: Tensor,
    text: Text,
    cameras: Cameras,
    prompts: Sequence[str],
    records: Sequence[PosedImages] | None = None,
) -> list[MeasuredObject]:
    """Decode clean latents ``b n c h w`` of b objects, seen by cameras ``b n``, and render the field fused from them.

    Args:
        model: whose autoencoder and field.
        latents: the views.
        text: b prompts, encoded.
        cameras: of the views.
        prompts: the b prompts.
        records: of b real objects.
    """
    images = model.backbone.decode_latents(latents).float()
    masks = silhouettes(images)
    opacity = renders = None
    if model.field is not None:
        size = latents.shape[-2], latents.shape[-1]
        rendering = fuse_clean(model, latents, text, cameras).render(cameras, size)
        opacity = rendering.opacity
        if model.field.ports.gives == "latents":
            renders = model.backbone.decode_latents(model.blend(rendering, size)).float()
    return [
        MeasuredObject(
            prompt,
            images[i],
            masks[i],
            latents[i],
            cameras[i],
            None if opacity is None else opacity[i],
            None if renders is None else renders[i],
            None if records is None else records[i],
        )
        for i, prompt in enumerate(prompts)
    ]


class Measurement:
    """The chosen metrics on one set of objects after another; one that fails is reported, and not asked again.

    Args:
        chosen: the metrics.
        model: that is evaluated.
        records: whether the objects stand in a dataset.
        failed: why a metric failed, by its name; filled as it happens.
    """

    def __init__(self, chosen: Chosen, model: MultiviewDiffusion, records: bool, failed: dict[str, str]) -> None:
        reasons = {each.name: lacking(each.metric, model, records) for each in chosen.metrics}
        self.skipped = chosen.skipped | {name: reason for name, reason in reasons.items() if reason}
        self.failed, self._model, self._chosen = failed, model, chosen.metrics

    @property
    def asks_sets(self) -> bool:
        """Tell whether a metric of sets is at work, for which all objects must be kept."""
        return any(isinstance(each.metric, SetMetric) for each in self._working())

    def of_object(self, sample: MeasuredObject, where: str, alone: bool = True) -> Figures:
        """Measure an object; ``where`` names it in messages.

        Raises:
            torch.OutOfMemoryError: there was not enough memory, and the object is not ``alone`` in it.
        """
        figures: Figures = dict.fromkeys(self._names(ObjectMetric))
        for each in self._working():
            metric = each.metric
            if isinstance(metric, ObjectMetric):
                figures |= self._ask(each, partial(metric.measure, sample, self._model), where, alone)
        return figures

    def of_set(self, samples: Sequence[MeasuredObject], where: str) -> Figures:
        """Measure a set of objects, whose tensors lie on the CPU."""
        figures: Figures = dict.fromkeys(self._names(SetMetric))
        for each in self._working():
            metric = each.metric
            if isinstance(metric, SetMetric):
                figures |= self._ask(each, partial(metric.measure_set, samples, self._model), where, True)
        return figures

    def means(self, rows: Sequence[Mapping[str, Any]]) -> Figures:
        """Mean of every figure of objects over those to which it applies; None of a metric that failed."""
        found = {name: [v for row in rows if (v := row[name]) is not None] for name in self._names(ObjectMetric)}
        known = {name for each in self._working() for name in each.figures}
        return {name: fmean(values) if values and name in known else None for name, values in found.items()}

    def _working(self) -> list[ChosenMetric]:
        return [each for each in self._chosen if each.name not in self.skipped.keys() | self.failed.keys()]

    def _names(self, kind: type) -> list[str]:
        return [name for each in self._chosen if isinstance(each.metric, kind) for name in each.figures]

    @torch.no_grad()
    def _ask(self, each: ChosenMetric, measure: Callable[[], Any], where: str, alone: bool) -> Figures:
        """Return the figures that a metric gives, if they are as declared."""
        try:
            given = measure()
            error = figures_error(each.figures, given)
        except torch.OutOfMemoryError as caught:
            if not alone:
                raise
            error = f"runs out of memory: {caught}"
        except Exception as caught:  # a component may fail in any way
            error = f"raises {type(caught).__name__}: {caught}"
        if error is None:
            return {name: None if value is None else float(value) for name, value in given.items()}
        self.failed[each.name] = f"{where}: {error}"
        warnings.warn(f"metric '{each.name}': {self.failed[each.name]}", TuneMV3DWarning, stacklevel=2)
        return {}
