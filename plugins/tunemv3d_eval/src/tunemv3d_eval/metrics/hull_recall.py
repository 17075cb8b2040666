"""Do the views' silhouettes lie inside one another's visual hulls? Looks at the pictures alone, has learned nothing."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need

RAY_SAMPLES = 192
"""Points a ray inside the unit sphere: at most 0.0104 apart, two thirds of a 128 px picture's pixel (0.0162 at the
distance 2.7 and focal length 1.3 of the chairs)."""


def hull_recall(silhouettes: Tensor, cameras: Cameras, tolerance: int = 0) -> Tensor:
    """The share of a view's silhouette inside the visual hull of the other views, averaged over the views.

    The visual hull (Laurentini, PAMI 1994) is the largest body that agrees with all silhouettes. Views of one object
    lie inside one another's hulls whatever the object; contradictory views carve it away. A pixel counts if some point
    of its ray, within the unit sphere, projects into every other view's picture and there next to foreground (one of
    the four nearest pixels), which is the half pixel by which real silhouettes disagree. Pixels whose ray misses the
    unit sphere, such as the corners, where autoencoders leave specks, show nothing of the object and do not count.

    Args:
        silhouettes: ``b n H W``, boolean, n at least 2.
        cameras: ``b n``.
        tolerance: pixels by which the other silhouettes are widened besides: views that were denoised as latents cannot
            agree to less than a latent's cell.

    Returns:
        ``b``, 0 to 1. Views without foreground do not count as views, but carve all others; 0 if all are empty.
    """
    recalls = [_hull_recall(s, cameras[i].to(s.device), tolerance) for i, s in enumerate(silhouettes)]
    return torch.stack(recalls)


def _hull_recall(silhouettes: Tensor, cameras: Cameras, tolerance: int) -> Tensor:
    """One object: silhouettes ``n H W``, cameras ``n``; a scalar."""
    reach = 1 + tolerance
    near_foreground = max_pool2d(silhouettes[:, None].float(), 2 * reach, stride=1, padding=reach)[:, 0] > 0
    shares = []
    for view, silhouette in enumerate(silhouettes):
        points = _points_behind(silhouette, cameras[view])
        if len(points) == 0:
            continue
        others = [(cameras[i], near_foreground[i]) for i in range(len(silhouettes)) if i != view]
        inside = (_any_in_all if points.is_cuda else _any_left)(points, others)
        shares.append(inside.float().mean())
    return torch.stack(shares).mean() if shares else torch.zeros((), device=silhouettes.device)


def _any_left(points: Tensor, others: Sequence[tuple[Cameras, Tensor]]) -> Tensor:
    """Tell which rays of ``r s 3`` have a point that all other views show as foreground, ``r``.

    Each view looks only at the points that those before it left over.
    """
    left = torch.arange(points.shape[0] * points.shape[1], device=points.device)
    for camera, near_foreground in others:
        left = left[_seen_as_foreground(points.flatten(0, 1)[left], camera, near_foreground)]
    inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    inside[left // points.shape[1]] = True
    return inside


def _any_in_all(points: Tensor, others: Sequence[tuple[Cameras, Tensor]]) -> Tensor:
    """Return the same without asking a GPU how many points are left, for which it would have to be waited for."""
    flat = points.flatten(0, 1)
    seen = torch.ones(len(flat), dtype=torch.bool, device=points.device)
    for camera, near_foreground in others:
        seen &= _seen_as_foreground(flat, camera, near_foreground)
    return seen.reshape(points.shape[:2]).any(1)


def _points_behind(silhouette: Tensor, camera: Cameras) -> Tensor:
    """Points within the unit sphere on the rays of those pixels of a silhouette whose rays meet it, ``r s 3``."""
    size = torch.tensor(silhouette.shape, device=silhouette.device)
    pixels = ((silhouette.nonzero() + 0.5) / size).flip(-1).to(camera.intrinsics.dtype)
    rays = camera.rays((0, 0), pixels)
    near, far, hit = intersect_sphere(rays)
    steps = (torch.arange(RAY_SAMPLES, device=silhouette.device, dtype=near.dtype) + 0.5) / RAY_SAMPLES
    depth = near[:, None] + (far - near)[:, None] * steps
    points = rays.origins[:, None] + depth[..., None] * rays.directions[:, None]
    return points[hit]


def _seen_as_foreground(points: Tensor, camera: Cameras, near_foreground: Tensor) -> Tensor:
    """Tell whether points ``p 3`` project onto ``near_foreground`` (``H+1 W+1``, the corners between pixels)."""
    pixels, depth = camera.project(points)
    height, width = near_foreground.shape[0] - 1, near_foreground.shape[1] - 1
    inside = (pixels >= 0).all(-1) & (pixels <= 1).all(-1) & (depth > 0)
    safe = torch.where(inside[:, None], pixels, torch.zeros_like(pixels))
    column, row = (safe[:, 0] * width + 0.5).long(), (safe[:, 1] * height + 0.5).long()
    return inside & near_foreground[row, column]


class HullRecall:
    """``hull_recall`` at two tolerances: half a pixel, and one latent cell more."""

    figures: Mapping[str, Figure] = {
        "hull_recall": Figure(
            "share of a view's silhouette inside the visual hull of the other views, to half a pixel", low=0, high=1
        ),
        "hull_recall_cell": Figure("the same with the other silhouettes widened by one latent cell", low=0, high=1),
    }
    needs: tuple[Need, ...] = ()

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Measure an object's silhouettes."""
        silhouettes, cameras = sample.silhouettes[None], sample.cameras[None]
        return {
            "hull_recall": hull_recall(silhouettes, cameras).item(),
            "hull_recall_cell": hull_recall(silhouettes, cameras, model.backbone.ports.image_stride).item(),
        }


def build_hull_recall(spec: ComponentSpec) -> HullRecall:
    """Build the metric ``hull-recall``."""
    return HullRecall()
