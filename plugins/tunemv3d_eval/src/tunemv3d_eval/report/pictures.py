"""One picture per object: for every K the views, the field's renders below them, and its opacity."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate

from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.generated import save_picture
from tunemv3d_core.slots import MeasuredObject

MARGIN = 84
"""Width of the column of labels, pixels."""

LINE = 14
"""Height of a line of text, pixels."""

LARGEST_TILE = 192
"""Views are shown at their own size up to this one, pixels."""


def write_picture(
    path: Path,
    title: str,
    rows: Sequence[tuple[str, MeasuredObject | None, Mapping[str, float | None]]],
    xmp: bytes = b"",
) -> None:
    """Write one object as it came out in several settings: a label each, the object and its figures.

    Args:
        path: of the picture.
        title: above it.
        rows: label, object and figures; an object that is not there leaves its row empty. One is there at least.
        xmp: of ``GeneratedBy``, for objects that a model made.
    """
    strips: list[tuple[list[str], Tensor]] = []
    blank = next(torch.ones_like(sample.images) for _, sample, _ in rows if sample is not None)
    for label, sample, figures in rows:
        if sample is None:
            strips.append(([label, "failed"], blank))
            continue
        strips.append(([label, *_told(figures)], sample.images))
        if sample.renders is not None:
            strips.append((["field"], sample.renders))
        if sample.opacity is not None:
            strips.append((["opacity"], sample.opacity[:, None].expand(-1, 3, -1, -1) * 2 - 1))
    views, _, height, width = strips[0][1].shape
    tile = min(LARGEST_TILE, max(height, width))
    canvas = Image.new("RGB", (MARGIN + views * tile, 2 * LINE + len(strips) * tile), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((4, LINE // 2), title, fill="black")
    for row, (lines, images) in enumerate(strips):
        top = 2 * LINE + row * tile
        canvas.paste(_strip(images, tile), (MARGIN, top))
        for i, line in enumerate(lines):
            draw.text((4, top + 4 + i * LINE), line, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    # A picture that is there is not drawn again: it is there whole or not at all.
    with atomic_file(path, durable=True) as beside:
        save_picture(canvas, beside, xmp)


def _told(figures: Mapping[str, float | None]) -> list[str]:
    short = {"hull_recall": "hull", "leave_one_out": "left out", "opacity_iou": "IoU", "pose_agreement": "pose"}
    return [f"{word} {value:.3g}" for name, word in short.items() if (value := figures.get(name)) is not None]


def _strip(images: Tensor, tile: int) -> Image.Image:
    """Images ``n 3 H W`` in [-1, 1] side by side, each as a square of ``tile`` pixels."""
    shrinks = images.shape[-1] > tile
    resized = interpolate(images, (tile, tile), mode="area" if shrinks else "nearest")
    row = torch.cat(list(resized), dim=-1).permute(1, 2, 0)
    return Image.fromarray(((row + 1) * 127.5).round().clamp(0, 255).byte().cpu().numpy())
