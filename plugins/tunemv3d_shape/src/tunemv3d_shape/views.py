"""An object's pictures with their cameras, as textures and refinement need them."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.io.posed_images import read_object


@dataclass(frozen=True)
class Pictures:
    """Views of one object.

    Attributes:
        colours: ``n 3 H W``, sRGB in [0, 1], not multiplied by alpha.
        alpha: ``n H W`` in [0, 1], 1 where the object is.
        cameras: ``n``.
    """

    colours: Tensor
    alpha: Tensor
    cameras: Cameras

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.alpha.shape[-2], self.alpha.shape[-1]

    def on_white(self) -> Tensor:
        """``n 3 H W`` in [0, 1]."""
        return self.colours * self.alpha[:, None] + 1 - self.alpha[:, None]


def psnr(one: Pictures, other: Pictures) -> float:
    """Peak signal-to-noise ratio of pictures on white, dB, the mean over the views; 100 dB at most."""
    error = (one.on_white() - other.on_white()).square().mean((1, 2, 3))
    return float((-10 * error.clamp(min=1e-10).log10()).mean())


def read_pictures(folder: Path) -> Pictures:
    """The views of a sampled object, as ``transforms.json`` names them.

    Raises:
        SampleError: a picture is missing, damaged, of another size or without alpha, or shows nothing; names it.
    """
    try:
        record = read_object(folder)
    except TuneMV3DError as error:
        raise SampleError(str(error)) from None
    pixels = torch.from_numpy(np.stack([_read(folder / file, record.size) for file in record.files]))
    rgba = pixels.movedim(-1, 1).float() / 255
    if not bool((rgba[:, 3] > 0.5).any()):
        raise SampleError(f"{folder}: no view shows an object; sample it again with another --seed")
    return Pictures(rgba[:, :3].contiguous(), rgba[:, 3].contiguous(), record.cameras)


def png(colours: Tensor, alpha: Tensor | None = None) -> bytes:
    """A picture's file: colours ``3 H W`` and alpha ``H W`` in [0, 1]."""
    layers = colours if alpha is None else torch.cat([colours, alpha[None]])
    pixels = (layers.movedim(0, -1).clamp(0, 1) * 255).round().byte().cpu().numpy()
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def beside_each_other(pictures: Pictures, render: Callable[[Cameras], Pictures], views: int) -> bytes:
    """A picture's file: the first views above what is rendered of their cameras, on white."""
    given = Pictures(pictures.colours[:views], pictures.alpha[:views], pictures.cameras[:views])
    rows = [torch.cat(list(p.on_white()), dim=-1) for p in (given, render(given.cameras))]
    return png(torch.cat(rows, dim=-2))


def _read(path: Path, size: tuple[int, int]) -> np.ndarray:
    """``H W 4`` uint8."""
    try:
        with Image.open(path) as image:
            if "A" not in image.getbands():
                raise SampleError(f"{path}: no alpha channel, so that the object cannot be told from the ground")
            if image.size[::-1] != size:
                told = f"{image.size[0]} x {image.size[1]}, but transforms.json says {size[1]} x {size[0]}"
                raise SampleError(f"{path}: the picture has {told} pixels")
            return np.asarray(image.convert("RGBA"))
    except FileNotFoundError:
        raise SampleError(f"{path}: the view is missing; sample the object again, or restore the file") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise SampleError(f"{path}: the view is damaged: {error}") from None
