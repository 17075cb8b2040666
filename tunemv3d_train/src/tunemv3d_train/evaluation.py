"""The fixed measurement on held-out objects: the same objects, timesteps and noise before, during and after."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from rich.table import Table
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.diffusion import MultiviewDiffusion, Prediction
from tunemv3d_core.sampling import initial_noise
from tunemv3d_core.slots import Dataset
from tunemv3d_core.types import Text
from tunemv3d_core.view_selection import farthest_views, spread_views
from tunemv3d_train import losses
from tunemv3d_train.batches import Batches, TextCache
from tunemv3d_train.dataset_checks import object_infos
from tunemv3d_train.latents import LatentCache
from tunemv3d_train.streaming import StreamedLatents

TIMESTEPS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Noise levels as fractions of the schedule: 50, 250, 500, 750 and 950 of 1,000."""

Figures = dict[str, float]


@dataclass(frozen=True)
class HeldOut:
    """The fixed sample.

    Attributes:
        objects: dataset indices.
        told: what they are, for people.
        counts: n input views, spread evenly around the object, and n' novel ones, as far from them as there are.
        timesteps: fractions of the schedule.
        seed: of the noise.
    """

    objects: list[int]
    told: str
    counts: ViewsSpec
    timesteps: tuple[float, ...]
    seed: int


def choose(dataset: Dataset, counts: ViewsSpec, objects: int, timesteps: Sequence[float], seed: int) -> HeldOut:
    """The first held-out objects that have enough views; training objects where there are none."""
    splits = dataset.splits()
    wanted = counts.inputs + counts.novel
    held_out = splits["held_out"]
    enough = [
        index for index, each in zip(held_out, object_infos(dataset, held_out), strict=True) if each.views >= wanted
    ]
    chosen = (enough or splits["train"])[:objects]
    told = f"{len(chosen)} held-out objects" if enough else f"{len(chosen)} training objects (none is held out)"
    told += f", {counts.inputs} + {counts.novel} views"
    return HeldOut(chosen, told, counts, tuple(timesteps), seed)


class Measurement:
    """Measures a model on a fixed sample.

    Args:
        dataset: the pictures.
        sample: what is measured.
        latents: cache of the dataset's latents.
        texts: cache of its captions.
        batches: makes cameras.
        frozen: the frozen model's figures where they are known already, as in a resumed run.
    """

    def __init__(
        self,
        dataset: Dataset,
        sample: HeldOut,
        latents: LatentCache | StreamedLatents,
        texts: TextCache,
        batches: Batches,
        frozen: Figures | None = None,
    ) -> None:
        self.sample, self._dataset = sample, dataset
        self._latents, self._texts, self._batches = latents, texts, batches
        self._frozen = frozen

    @torch.no_grad()
    def __call__(self, model: MultiviewDiffusion) -> Figures:
        """Figures by name, means over the objects.

        ``denoise/t=T`` and ``denoise_frozen/t=T`` are mean squared errors in the backbone's prediction type, on the
        same noise. With a field also L_neus, as ``neus`` over all views and as ``neus_inputs`` and ``neus_novel``,
        ``mask``, the scene's own losses, and ``opacity_iou``, the share of the silhouette that opacity > 0.5 and
        alpha > 0.5 have in common, over the input views; each as a mean over the noise levels and, as ``NAME/t=T``,
        at each level.
        """
        training = model.training
        model.eval()
        per_object = [self._object(model, index) for index in self.sample.objects]
        model.train(training)
        own = {name: float(torch.stack([f[name] for f in per_object]).mean()) for name in per_object[0]}
        if self._frozen is None:
            self._frozen = {name: value for name, value in own.items() if name.startswith("denoise_frozen/")}
        return own | self._frozen

    def _object(self, model: MultiviewDiffusion, index: int) -> dict[str, Tensor]:
        n, m = self.sample.counts.inputs, self.sample.counts.novel
        inputs = spread_views(self._dataset.record(index).cameras, n)
        novel = farthest_views(self._dataset.record(index).cameras, m, inputs)
        latents, alpha = self._latents.gather([index], [[*inputs, *novel]])
        cameras = self._batches.cameras([index], [[*inputs, *novel]])
        text = self._texts.gather([self._dataset.record(index).captions[0]])
        seeds = [self.sample.seed * 1_000_003 + index]
        noise = initial_noise(seeds, n, latents.shape[2], (latents.shape[3], latents.shape[4])).to(latents)
        each = [self._level(model, level, latents, alpha, noise, cameras, text) for level in self.sample.timesteps]
        figures = {name: value for level in each for name, value in level.items() if "/" in name}
        shared = [name for name in each[0] if "/" not in name]
        return figures | {name: torch.stack([level[name] for level in each]).mean() for name in shared}

    def _level(
        self,
        model: MultiviewDiffusion,
        level: float,
        latents: Tensor,
        alpha: Tensor,
        noise: Tensor,
        cameras: Cameras,
        text: Text,
    ) -> dict[str, Tensor]:
        n = noise.shape[1]
        timestep = int(level * model.backbone.ports.train_timesteps)
        t = torch.full(noise.shape[:2], float(timestep), device=noise.device)
        x_t = model.backbone.add_noise(latents[:, :n], noise, t)
        target = model.backbone.target(latents[:, :n], noise, t)
        torch.manual_seed(self.sample.seed)
        novel = cameras[:, n:] if latents.shape[1] > n and model.field is not None else None
        prediction = model(x_t, t, text, cameras[:, :n], novel)
        figures = {f"denoise/t={timestep}": losses.per_view_error(prediction.modulated, target).mean()}
        if self._frozen is None:
            frozen = prediction.modulated if model.field is None else model.frozen(x_t, t, text)
            figures[f"denoise_frozen/t={timestep}"] = losses.per_view_error(frozen, target).mean()
        shared: dict[str, Tensor] = {}
        if prediction.rendering is not None and prediction.scene is not None:
            shared = {"opacity_iou": iou(prediction.rendering.opacity, alpha[:, :n])}
            shared["mask"] = _mask(prediction, alpha[:, :n], alpha[:, n:])
            shared |= prediction.scene.losses()
        if model.field is not None and model.field.ports.gives == "latents":
            shared |= _neus(prediction, latents[:, :n], latents[:, n:])
        return figures | shared | {f"{name}/t={timestep}": value for name, value in shared.items()}


def _neus(prediction: Prediction, inputs: Tensor, novel: Tensor) -> dict[str, Tensor]:
    """L_neus of the input views, of the novel ones where there are any, and of all."""
    assert prediction.x0 is not None
    errors = {"neus_inputs": losses.per_view_l1(prediction.x0, inputs)}
    if prediction.novel_x0 is not None:
        errors["neus_novel"] = losses.per_view_l1(prediction.novel_x0, novel)
    return {"neus": torch.cat(list(errors.values()), dim=1).mean(), **{k: e.mean() for k, e in errors.items()}}


def _mask(prediction: Prediction, alpha: Tensor, novel_alpha: Tensor) -> Tensor:
    assert prediction.rendering is not None
    novel = None if prediction.novel is None else prediction.novel.opacity
    return losses.mask(prediction.rendering.opacity, alpha, novel, novel_alpha).mean()


def iou(opacity: Tensor, alpha: Tensor) -> Tensor:
    """Intersection over union of ``opacity > 0.5`` and ``alpha > 0.5`` per view (``b n h w``), averaged."""
    mine, true = opacity > 0.5, alpha > 0.5
    both, either = (mine & true).flatten(2).sum(-1), (mine | true).flatten(2).sum(-1)
    return torch.where(either > 0, both / either.clamp(min=1), 1.0).mean()


_TOLD = {
    "neus": "L_neus",
    "neus_inputs": "L_neus, input views",
    "neus_novel": "L_neus, novel views",
    "mask": "mask term",
    "opacity_iou": "opacity IoU",
}
_PREDICTIONS = ("denoise/", "denoise_frozen/")


def table(before: Figures, after: Figures, measured: str) -> Table:
    """Before and after for people; L_denoise beside the frozen model's, all else beside what it was before."""
    shown = Table(title=f"{measured}: same views, timesteps and noise", title_justify="left")
    for name in ("", "before", "after", "frozen model", "change"):
        shown.add_column(name, justify="left" if not name else "right")
    for name, label in _TOLD.items():
        if name in after:
            shown.add_row(label, *_told(before.get(name), after[name], None))
    for name in (name for name in after if name.startswith("neus/")):
        shown.add_row(name.replace("neus/", "L_neus, "), *_told(before.get(name), after[name], None))
    levels = [name for name in after if name.startswith("denoise/")]
    for name in levels:
        frozen = after[name.replace("denoise/", "denoise_frozen/")]
        shown.add_row(name.replace("denoise/", "L_denoise, "), *_told(before.get(name), after[name], frozen))
    shown.add_row("L_denoise, mean", *_told(_mean(before, "denoise/"), *(_mean(after, p) for p in _PREDICTIONS)))
    return shown


def _mean(figures: Figures, prefix: str) -> float | None:
    values = [value for name, value in figures.items() if name.startswith(prefix)]
    return fmean(values) if values else None


def _told(before: float | None, after: float | None, frozen: float | None) -> list[str]:
    """One row's cells; the change is against the frozen model where it has the figure, else against before."""
    reference = before if frozen is None else frozen
    change = "" if not reference or after is None else f"{after / reference - 1:+.1%}"
    return [*("" if v is None else f"{v:.4f}" for v in (before, after, frozen)), change]
