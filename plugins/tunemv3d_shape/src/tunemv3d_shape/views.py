"""Comparing and drawing pictures of an object."""

from collections.abc import Callable
from io import BytesIO

import torch
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_core.slots import Pictures


def psnr(one: Pictures, other: Pictures) -> float:
    """Peak signal-to-noise ratio of pictures on white, dB, the mean over the views; 100 dB at most."""
    error = (one.on_white() - other.on_white()).square().mean((1, 2, 3))
    return float((-10 * error.clamp(min=1e-10).log10()).mean())


def png(by: GeneratedBy, colours: Tensor, alpha: Tensor | None = None) -> bytes:
    """Encode a generated picture as PNG: colours ``3 H W`` and alpha ``H W`` in [0, 1]."""
    layers = colours if alpha is None else torch.cat([colours, alpha[None]])
    pixels = (layers.movedim(0, -1).clamp(0, 1) * 255).round().byte().cpu().numpy()
    file = BytesIO()
    save_picture(Image.fromarray(pixels), file, by.xmp)
    return file.getvalue()


def beside_each_other(by: GeneratedBy, pictures: Pictures, render: Callable[[Cameras], Pictures], views: int) -> bytes:
    """Encode the first views above what is rendered from their cameras, on white, as PNG."""
    given = Pictures(pictures.colours[:views], pictures.alpha[:views], pictures.cameras[:views])
    rows = [torch.cat(list(p.on_white()), dim=-1) for p in (given, render(given.cameras))]
    return png(by, torch.cat(rows, dim=-2))
