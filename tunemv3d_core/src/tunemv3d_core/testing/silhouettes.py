"""How well an object's silhouettes agree with each other under its cameras."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere, pixel_centres

PIXELS, SAMPLES = 128, 96
"""Foreground pixels of each view, and samples of each one's ray, that are looked at."""

_FINE = 128
"""Pixels of a picture, of which one beside a silhouette counts as part of it: samples of a ray lie so far apart."""


def hull_share(alpha: Tensor, cameras: Cameras) -> float:
    """Measure the share of foreground whose rays pass through the visual hull of all views.

    Right cameras give 1, whatever the object: each pixel's ray meets the object, which all views show.

    Args:
        alpha: ``n H W`` from 0 to 1.
        cameras: ``(n,)``.

    Returns:
        0 to 1; 1 where nothing is in the foreground.
    """
    size = (int(alpha.shape[-2]), int(alpha.shape[-1]))
    beside = -(-max(size) // _FINE)
    wide = F.max_pool2d(alpha[:, None], 2 * beside + 1, stride=1, padding=beside)
    through = total = 0
    for view, mask in enumerate(alpha.flatten(1) > 0.5):
        pixels = mask.nonzero()[:, 0]
        pixels = pixels[:: max(1, len(pixels) // PIXELS)]
        rays = cameras[view].rays(size, pixel_centres(size)[pixels])
        near, far, _ = intersect_sphere(rays)
        depths = near[:, None] + (far - near)[:, None] * (torch.arange(SAMPLES) + 0.5) / SAMPLES
        points = rays.origins[:, None] + depths[..., None] * rays.directions[:, None]  # r s 3
        places, depth = cameras.project(points.flatten(0, 1)[None])  # n (r s) 2, n (r s)
        shown = F.grid_sample(wide, 2 * places[:, None] - 1, align_corners=False)[:, 0, 0] > 0.25
        outside = ((places < 0) | (places > 1)).any(-1)  # of the frame, where a view tells nothing
        in_hull = torch.unflatten(((shown | outside) & (depth > 0)).all(0), 0, (-1, SAMPLES)).any(1)
        through, total = through + int(in_hull.sum()), total + len(pixels)
    return through / total if total else 1.0
