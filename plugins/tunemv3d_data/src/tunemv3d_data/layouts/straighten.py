"""Pictures without their lens's distortion: OpenCV's polynomial and fisheye models, of which COLMAP's are cases.

A straight picture asks where each of its pixels lies in the distorted one, which the models state outright:
docs.opencv.org, modules calib3d and calib3d_fisheye; colmap/colmap, doc/cameras.rst. Nothing is inverted.
"""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from tunemv3d_core.cameras import pixel_centres
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.lenses import DISTORTIONS, Lens

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

_STEPS = 2048
"""Radii at which the search for a fold looks."""


def distorted(plane: Floats, lens: Lens) -> Floats:
    """Compute where a lens shows points of the plane at depth 1; NaN beyond the radius where its model folds over.

    Args:
        plane: ``... 2``: x and y over z, in the camera.
        lens: its coefficients.
    """
    _, _, p1, p2, *_ = _coefficients(lens)
    x, y = plane[..., 0], plane[..., 1]
    radius = np.hypot(x, y)
    growth = np.where(radius < _fold(lens, float(radius.max(initial=0.0))), _growth(radius, lens), np.nan)
    if lens.is_fisheye:
        return np.stack([x * growth, y * growth], axis=-1)
    r2 = radius**2
    return np.stack(
        [
            x * growth + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
            y * growth + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y,
        ],
        axis=-1,
    )


def straightened(rgba: Bytes, lens: Lens) -> Bytes:
    """Take the distortion out of a picture ``h w 4`` with straight alpha; size, focal length and centre stay.

    Where the lens saw nothing it is transparent; in a picture without transparency the border's colours go on, so
    that a photograph does not pass for one whose ground was cut away.

    Raises:
        DatasetError: the picture is not of the lens's size.
    """
    if lens.is_pinhole:
        return rgba
    if rgba.shape[:2] != lens.size:
        raise DatasetError(f"a picture of {rgba.shape[:2]} for a lens of {lens.size} (h, w)")
    grid, inside = _grid(lens)
    pixels = torch.tensor(rgba).permute(2, 0, 1).float()
    pixels[:3] *= pixels[3:] / 255
    looked_up = torch.nn.functional.grid_sample(pixels[None], grid[None], padding_mode="border", align_corners=False)[0]
    alpha = looked_up[3:]
    colours = looked_up[:3] * 255 / alpha.clamp(min=1e-3)
    if bool((pixels[3] < 255).any()):
        alpha = alpha * inside
    return np.asarray(torch.cat([colours, alpha]).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


@lru_cache(maxsize=2)
def _grid(lens: Lens) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where every pixel is looked up, ``h w 2`` from -1 to 1, and whether the lens saw it, ``h w``."""
    (h, w), (fx, fy, cx, cy) = lens.size, lens.intrinsics
    pixels = pixel_centres(lens.size, dtype=torch.float64).numpy().reshape(h, w, 2)
    plane = (pixels - [cx, cy]) / [fx, fy]
    found = distorted(plane, lens) * [fx, fy] + [cx, cy]
    inside = ((found >= 0) & (found <= 1)).all(-1)
    grid = np.nan_to_num(2 * found - 1, nan=2.0).astype(np.float32)
    return torch.from_numpy(grid), torch.from_numpy(inside)


def _coefficients(lens: Lens) -> list[float]:
    """All coefficients in the order of ``DISTORTIONS``."""
    stated = dict(lens.distortion)
    return [stated.get(name, 0.0) for name in DISTORTIONS]


def _growth(radius: Floats, lens: Lens) -> Floats:
    """Radial factor by which a point at ``radius`` moves from the middle."""
    k1, k2, _, _, k3, k4, k5, k6 = _coefficients(lens)
    if not lens.is_fisheye:
        r2 = radius**2
        return np.asarray((1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6))))
    theta = np.arctan(radius)
    t2 = theta**2
    bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    return np.asarray(np.divide(bent, radius, out=np.ones_like(radius), where=radius > 1e-12))


def _fold(lens: Lens, largest: float) -> float:
    """Find the radius from which larger radii come nearer to the middle again: no lens does that, only its model."""
    radii = np.linspace(0, largest, _STEPS)
    shrinks = np.flatnonzero(np.diff(radii * _growth(radii, lens)) <= 0)
    return float(radii[shrinks[0]]) if len(shrinks) and largest > 0 else float("inf")
