"""The fixed measurement, on held-out objects where there are some: the same objects, timesteps and noise each time."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from rich.table import Table
from torch import Tensor

from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.sampling import initial_noise
from tunemv3d_core.slots import Dataset
from tunemv3d_core.view_selection import farthest_views, spread_views
from tunemv3d_train import losses
from tunemv3d_train.batch_sampler import BatchPlan
from tunemv3d_train.batches import Batch, Batches
from tunemv3d_train.dataset_checks import object_infos
from tunemv3d_train.step import TrainingStep

TIMESTEPS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Noise levels as fractions of the schedule: 50, 250, 500, 750 and 950 of 1,000."""

Figures = dict[str, float]


@dataclass(frozen=True)
class FixedSample:
    """The fixed sample.

    Attributes:
        objects: dataset indices.
        held_out: whether no training step sees them.
        description: what they are, for people.
        counts: n input views, spread evenly around the object, and n' novel ones, as far from them as there are.
        timesteps: fractions of the schedule.
        seed: of the noise.
    """

    objects: list[int]
    held_out: bool
    description: str
    counts: ViewsSpec
    timesteps: tuple[float, ...]
    seed: int

    @property
    def prefix(self) -> str:
        """What the figures' names begin with in the log."""
        return "held_out/" if self.held_out else "trained_on/"


def choose(dataset: Dataset, counts: ViewsSpec, objects: int, timesteps: Sequence[float], seed: int) -> FixedSample:
    """Choose the first held-out objects that have enough views; training objects where there are none."""
    splits = dataset.splits()
    needed = counts.inputs + counts.novel
    held_out = splits["held_out"]
    enough = [
        index for index, each in zip(held_out, object_infos(dataset, held_out), strict=True) if each.views >= needed
    ]
    chosen = (enough or splits["train"])[:objects]
    why = "none that is held out has enough views" if held_out else "none is held out"
    kind = "held-out objects" if enough else f"objects that are trained on ({why})"
    description = f"{len(chosen)} {kind}, {counts.inputs} + {counts.novel} views"
    return FixedSample(chosen, bool(enough), description, counts, tuple(timesteps), seed)


class Measurement:
    """Measures a training step's model on a fixed sample.

    Args:
        step: what is trained.
        dataset: the pictures.
        sample: what is measured.
        batches: makes the tensors.
        frozen: the frozen model's figures where they are known already, as in a resumed run.
    """

    def __init__(
        self, step: TrainingStep, dataset: Dataset, sample: FixedSample, batches: Batches, frozen: Figures | None = None
    ) -> None:
        self.sample, self._step, self._dataset, self._batches = sample, step, dataset, batches
        self._frozen = frozen

    @torch.no_grad()
    def __call__(self) -> Figures:
        """Return figures by name, means over the objects.

        ``denoise/t=T`` and ``denoise_frozen/t=T`` are mean squared errors in the backbone's prediction type, on the
        same noise. With a field also L_neus, as ``neus`` over all views and as ``neus_inputs`` and ``neus_novel``,
        ``mask``, the scene's own losses, and ``opacity_iou``, the share of the silhouette that opacity > 0.5 and
        alpha > 0.5 have in common, over the input views; and the spec's further losses. Each is there as a mean over
        the noise levels and, as ``NAME/t=T``, at each level.
        """
        model = self._step.model
        training = model.training
        model.eval()
        per_object = [self._object(index) for index in self.sample.objects]
        model.train(training)
        own = {name: float(torch.stack([f[name] for f in per_object]).mean()) for name in per_object[0]}
        if self._frozen is None:
            self._frozen = {name: value for name, value in own.items() if name.startswith("denoise_frozen/")}
        return own | self._frozen

    def batch(self, index: int, level: float) -> Batch:
        """Return the tensors of one object at a noise level, a fraction of the schedule."""
        n, m = self.sample.counts.inputs, self.sample.counts.novel
        record = self._dataset.record(index)
        inputs = spread_views(record.cameras, n)
        novel = farthest_views(record.cameras, m, inputs)
        timestep = float(int(level * self._step.model.backbone.ports.train_timesteps))
        plan = BatchPlan(
            objects=[index],
            views=[[*inputs, *novel]],
            captions=[record.captions[0]],
            t=torch.full((1, n), timestep),
            is_clean=torch.zeros(1, n, dtype=torch.bool),
            novel_pixels=None,
            seed=self.sample.seed * 1_000_003 + index,
        )
        c, h, w = self._batches.latents.shape
        return self._batches(plan, initial_noise([plan.seed], n, c, (h, w)))

    def _object(self, index: int) -> dict[str, Tensor]:
        each = [self._level(self.batch(index, level)) for level in self.sample.timesteps]
        figures = {name: value for level in each for name, value in level.items() if "/" in name}
        shared = [name for name in each[0] if "/" not in name]
        return figures | {name: torch.stack([level[name] for level in each]).mean() for name in shared}

    def _level(self, batch: Batch) -> dict[str, Tensor]:
        step, n = self._step, self.sample.counts.inputs
        torch.manual_seed(self.sample.seed)
        prediction, targets = step.predict(batch)
        at = f"t={int(targets.t[0, 0])}"
        figures = {f"denoise/{at}": losses.denoise(prediction, targets).mean()}
        if self._frozen is None:
            plain = step.model.field is None
            frozen = prediction.modulated if plain else step.model.frozen(targets.x_t, targets.t, targets.text)
            figures[f"denoise_frozen/{at}"] = losses.squared_error(frozen, targets.prediction).mean()
        errors = step.view_losses(prediction, targets)
        shared = {name: views.mean() for name, views in errors.items()}
        if "neus" in errors:
            shared["neus_inputs"] = errors["neus"][:, :n].mean()
            if errors["neus"].shape[1] > n:
                shared["neus_novel"] = errors["neus"][:, n:].mean()
        if prediction.rendering is not None and prediction.scene is not None:
            shared["opacity_iou"] = iou(prediction.rendering.opacity, targets.alpha)
            shared |= step.scene_losses(prediction.scene)
        return figures | shared | {f"{name}/{at}": value for name, value in shared.items()}


def iou(opacity: Tensor, alpha: Tensor) -> Tensor:
    """Intersection over union of ``opacity > 0.5`` and ``alpha > 0.5`` per view (``b n h w``), averaged."""
    mine, true = opacity > 0.5, alpha > 0.5
    both, either = (mine & true).flatten(2).sum(-1), (mine | true).flatten(2).sum(-1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean()


_LABELS = {
    "neus": "L_neus",
    "neus_inputs": "L_neus, input views",
    "neus_novel": "L_neus, novel views",
    "mask": "mask term",
    "opacity_iou": "opacity IoU",
}
_PREDICTIONS = ("denoise/", "denoise_frozen/")


def table(before: Figures, after: Figures, sample: str) -> Table:
    """Lay out figures before and after: L_denoise beside the frozen model's, all else beside what it was before."""
    shown = Table(title=f"{sample}: same views, timesteps and noise", title_justify="left")
    for name in ("", "before", "after", "frozen model", "change"):
        shown.add_column(name, justify="left" if not name else "right")
    for name, label in _LABELS.items():
        if name in after:
            shown.add_row(label, *_cells(before.get(name), after[name], None))
    for name in (name for name in after if name.startswith("neus/")):
        shown.add_row(name.replace("neus/", "L_neus, "), *_cells(before.get(name), after[name], None))
    levels = [name for name in after if name.startswith("denoise/")]
    for name in levels:
        frozen = after[name.replace("denoise/", "denoise_frozen/")]
        shown.add_row(name.replace("denoise/", "L_denoise, "), *_cells(before.get(name), after[name], frozen))
    shown.add_row("L_denoise, mean", *_cells(_mean(before, "denoise/"), *(_mean(after, p) for p in _PREDICTIONS)))
    return shown


def _mean(figures: Figures, prefix: str) -> float | None:
    values = [value for name, value in figures.items() if name.startswith(prefix)]
    return fmean(values) if values else None


def _cells(before: float | None, after: float | None, frozen: float | None) -> list[str]:
    """Return one row's cells; the change is against the frozen model where it has the figure, else against before."""
    reference = before if frozen is None else frozen
    change = "" if not reference or after is None else f"{after / reference - 1:+.1%}"
    return [*("" if v is None else f"{v:.4f}" for v in (before, after, frozen)), change]
