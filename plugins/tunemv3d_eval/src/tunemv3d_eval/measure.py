"""All measures of one batch of views, sampled or real."""

from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.sampling import fuse_clean
from tunemv3d_core.types import Rendering, Text
from tunemv3d_eval.colour import foreground_colour, named_colour
from tunemv3d_eval.consistency import hull_recall, leave_one_out, opacity_iou, pose_agreement, silhouettes

FIGURES = {
    "hull_recall": "share of a view's silhouette inside the visual hull of the other views, to half a pixel",
    "hull_recall_cell": "the same with the other silhouettes widened by one latent cell",
    "leave_one_out": "PSNR of the field's render of a view, fused from the others alone (dB, mean over views)",
    "opacity_iou": "overlap of the field's opacity with the views' silhouettes",
    "pose_agreement": "share of views that the field fits best from their own camera",
    "colour_met": "share of prompts whose named colour the foreground has",
}
"""Every figure and what it says; in all of them more is better."""

Figures = dict[str, float | None]
"""Figures of one object, or their means; None where one does not apply (no field, no novel views, no colour named)."""


@dataclass(frozen=True)
class Measured:
    """What was measured of b objects.

    Attributes:
        figures: b dictionaries with the keys of ``FIGURES``.
        images: the views, ``b n 3 H W`` in [-1, 1].
        renders: the field's renders of the same cameras, decoded; None without a field that gives latents.
        opacity: the field's, ``b n h w``; None without a field.
    """

    figures: list[Figures]
    images: Tensor
    renders: Tensor | None = None
    opacity: Tensor | None = None


@torch.no_grad()
def measure(model: MultiviewDiffusion, latents: Tensor, text: Text, cameras: Cameras, prompts: list[str]) -> Measured:
    """Measure clean latents ``b n c h w`` of b objects, seen by cameras ``b n``."""
    images = model.backbone.decode_latents(latents).float()
    masks = silhouettes(images)
    colours = foreground_colour(images, masks)
    named = [named_colour(prompt) for prompt in prompts]
    columns: dict[str, list[float | None]] = {
        "hull_recall": hull_recall(masks, cameras).tolist(),
        "hull_recall_cell": hull_recall(masks, cameras, model.backbone.ports.image_stride).tolist(),
        "colour_met": [None if n is None else float(n == c) for n, c in zip(named, colours, strict=True)],
    }
    rendering = renders = None
    if model.field is not None:
        rendering = fuse_clean(model, latents, text, cameras).render(cameras, _size(latents))
        columns["opacity_iou"] = opacity_iou(rendering.opacity, masks).tolist()
        columns["pose_agreement"] = pose_agreement(rendering.opacity, masks).tolist()
        if model.field.ports.gives == "latents":
            renders = _decoded(model, rendering, latents)
            if model.field.ports.novel_views:
                columns["leave_one_out"] = leave_one_out(model, latents, text, cameras).tolist()
    figures = [{name: columns[name][i] if name in columns else None for name in FIGURES} for i in range(len(prompts))]
    return Measured(figures, images, renders, None if rendering is None else rendering.opacity)


def means(figures: list[Figures]) -> Figures:
    """Mean of every figure over the objects to which it applies."""
    found = {name: [v for f in figures if (v := f[name]) is not None] for name in FIGURES}
    return {name: fmean(values) if values else None for name, values in found.items()}


def _size(latents: Tensor) -> tuple[int, int]:
    return latents.shape[-2], latents.shape[-1]


def _decoded(model: MultiviewDiffusion, rendering: Rendering, latents: Tensor) -> Tensor:
    return model.backbone.decode_latents(model.blend(rendering, _size(latents))).float()
