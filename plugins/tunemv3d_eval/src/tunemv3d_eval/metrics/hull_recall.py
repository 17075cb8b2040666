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
    return hull_recalls(silhouettes, cameras, (tolerance,))[0]


def hull_recalls(silhouettes: Tensor, cameras: Cameras, tolerances: Sequence[int]) -> Tensor:
    """Return ``hull_recall`` at several tolerances, rising ones, ``t b``: they share most of the work."""
    found = [_hull_recalls(s, cameras[i].to(s.device), tolerances) for i, s in enumerate(silhouettes)]
    return torch.stack(found, dim=1)


def _hull_recalls(silhouettes: Tensor, cameras: Cameras, tolerances: Sequence[int]) -> Tensor:
    """One object: silhouettes ``n H W``, cameras ``n``; ``t``."""
    foreground = silhouettes[:, None].float()
    reaches = [1 + tolerance for tolerance in tolerances]
    widened = [max_pool2d(foreground, 2 * reach, stride=1, padding=reach)[:, 0] > 0 for reach in reaches]
    near_foreground = torch.stack(widened, dim=1)
    shares = []
    for view, silhouette in enumerate(silhouettes):
        points = _points_behind(silhouette, cameras[view])
        if len(points) == 0:
            continue
        others = [(cameras[i], near_foreground[i]) for i in range(len(silhouettes)) if i != view]
        shares.append(_inside(points, others, once=points.is_cuda).float().mean(1))
    return torch.stack(shares).mean(0) if shares else foreground.new_zeros(len(tolerances))


def _inside(points: Tensor, others: Sequence[tuple[Cameras, Tensor]], once: bool) -> Tensor:
    """Tell which rays of ``r s 3`` have a point that all other views show as foreground, at each tolerance: ``t r``.

    Each view looks only at the points that those before it left over at the widest tolerance; with ``once``, at those
    that the first one left over: a GPU has to be waited for whenever its points are counted.
    """
    rays, steps, _ = points.shape
    flat = points.flatten(0, 1)
    left = torch.arange(len(flat), device=points.device)
    kept = torch.ones(len(others[0][1]), len(flat), dtype=torch.bool, device=points.device)
    for number, (camera, near_foreground) in enumerate(others):
        kept = kept & _seen_as_foreground(flat[left], camera, near_foreground)
        if number == 0 or not once:
            (alive,) = kept[-1].nonzero(as_tuple=True)
            left, kept = left[alive], kept[:, alive]
    hits = torch.zeros(len(kept), rays, device=points.device)
    return hits.index_add_(1, left // steps, kept.float()) > 0


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
    """Tell whether points ``p 3`` project onto foreground, ``t p``.

    Args:
        points: in the world.
        camera: of the view.
        near_foreground: ``t H+1 W+1``, at each tolerance: the corners between pixels that lie near it.
    """
    pixels, depth = camera.project(points)
    height, width = near_foreground.shape[1] - 1, near_foreground.shape[2] - 1
    inside = (pixels >= 0).all(-1) & (pixels <= 1).all(-1) & (depth > 0)
    safe = torch.where(inside[:, None], pixels, torch.zeros_like(pixels))
    column, row = (safe[:, 0] * width + 0.5).long(), (safe[:, 1] * height + 0.5).long()
    return inside & near_foreground[:, row, column]


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
        tolerances = (0, model.backbone.ports.image_stride)
        exact, cell = hull_recalls(sample.silhouettes[None], sample.cameras[None], tolerances)[:, 0].tolist()
        return {"hull_recall": exact, "hull_recall_cell": cell}


def build_hull_recall(spec: ComponentSpec) -> HullRecall:
    """Build the metric ``hull-recall``."""
    return HullRecall()
