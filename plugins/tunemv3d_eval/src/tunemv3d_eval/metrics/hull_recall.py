"""Do the views' silhouettes lie inside one another's visual hulls? Looks at the pictures alone, has learned nothing."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from tunemv3d_core.cameras import Cameras, Rays, intersect_sphere
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need

RAY_SAMPLES = 192
"""Points a ray inside the unit sphere: at most 0.0104 apart, two thirds of a 128 px picture's pixel (0.0162 at the
distance 2.7 and focal length 1.3 of the chairs)."""

COARSE = 8
"""One of so many points of a ray is looked at first."""

POINTS_AT_ONCE = 2**20
"""Points in memory together."""

NEVER = 255
"""In place of a tolerance's number: none is enough."""


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
    refused = _refused(silhouettes, tolerances)
    view, rays = _rays_behind(silhouettes, cameras)
    near, far, hit = intersect_sphere(rays)
    steps = (torch.arange(RAY_SAMPLES, device=view.device, dtype=near.dtype) + 0.5) / RAY_SAMPLES
    depth = near[:, None] + (far - near)[:, None] * steps
    # Most rays have a point that agrees with all views among every eighth of theirs.
    needed = _tolerance_needed(view, rays, depth[:, COARSE // 2 :: COARSE], cameras, refused)
    (left,) = needed.nonzero(as_tuple=True)
    rest = _tolerance_needed(view[left], Rays(rays.origins[left], rays.directions[left]), depth[left], cameras, refused)
    needed[left] = torch.minimum(needed[left], rest)
    inside = needed <= torch.arange(len(tolerances), device=view.device)[:, None]
    of_view = (view == torch.arange(len(silhouettes), device=view.device)[:, None]) & hit
    counts = of_view.sum(1)
    shares = (inside[:, None] & of_view).sum(2) / counts.clamp(min=1)
    return shares.sum(1) / (counts > 0).sum().clamp(min=1)


def _refused(silhouettes: Tensor, tolerances: Sequence[int]) -> Tensor:
    """At how many of the tolerances a corner between pixels does not lie near foreground: bytes ``n H+1 W+1``."""
    foreground = silhouettes[:, None].float()
    reaches = [1 + tolerance for tolerance in tolerances]
    widened = [max_pool2d(foreground, 2 * reach, stride=1, padding=reach)[:, 0] for reach in reaches]
    refusing = (torch.stack(widened) == 0).sum(0)
    return torch.where(refusing == len(tolerances), NEVER, refusing).byte()


def _rays_behind(silhouettes: Tensor, cameras: Cameras) -> tuple[Tensor, Rays]:
    """Return rays ``r`` of all pixels of silhouettes ``n H W``, and before them the views that each belongs to."""
    view, row, column = silhouettes.nonzero(as_tuple=True)
    rays = cameras.rays((silhouettes.shape[1], silhouettes.shape[2]))
    pixel = row * silhouettes.shape[2] + column
    return view, Rays(rays.origins[view, pixel], rays.directions[view, pixel])


def _tolerance_needed(view: Tensor, rays: Rays, depth: Tensor, cameras: Cameras, refused: Tensor) -> Tensor:
    """Find the first tolerance at which a ray has a point that all other views show as foreground.

    Args:
        view: that each ray belongs to, ``r``.
        rays: ``r``.
        depth: of their points, ``r s``.
        cameras: ``n``.
        refused: ``n H+1 W+1``, as ``_refused`` gives it.

    Returns:
        Its number ``r``, bytes; ``NEVER`` where no tolerance is enough.
    """
    at_once = max(1, POINTS_AT_ONCE // depth.shape[1])
    parts = zip(*(torch.split(x, at_once) for x in (view, rays.origins, rays.directions, depth)), strict=True)
    return torch.cat([_needed_by_some(v, Rays(o, d), z, cameras, refused, not v.is_cuda) for v, o, d, z in parts])


def _needed_by_some(
    view: Tensor, rays: Rays, depth: Tensor, cameras: Cameras, refused: Tensor, thin_out: bool
) -> Tensor:
    """Do as ``_tolerance_needed``, with all points in memory.

    With ``thin_out`` each view looks at those points alone that the ones before it left over; without, at all of them:
    a GPU has to be waited for whenever points are counted.
    """
    n, height, width = len(refused), refused.shape[1] - 1, refused.shape[2] - 1
    corners = torch.nn.functional.pad(refused.flatten(1), (0, 1), value=NEVER)  # the last one is outside the picture
    outside = corners.shape[1] - 1
    ray = torch.arange(len(view), device=view.device).repeat_interleave(depth.shape[1])
    depth, needed = depth.flatten(), refused.new_zeros(len(ray))
    # Views a quarter turn away tell most about depth; the order changes nothing else.
    for offset in sorted(range(1, n), key=lambda k: abs(min(k, n - k) - n / 4)):
        other = (view + offset) % n
        start, slope = _in_picture(rays, cameras[other], height, width)
        x, y, z = start[:, ray] + depth * slope[:, ray]
        x, y = x / z, y / z
        inside = (x >= 0.5) & (x <= width + 0.5) & (y >= 0.5) & (y <= height + 0.5) & (z > 0)
        corner = torch.where(inside, y.long() * (width + 1) + x.long(), outside)
        needed = torch.maximum(needed, corners.flatten()[(other * (outside + 1))[ray] + corner])
        if thin_out:
            (left,) = (needed < NEVER).nonzero(as_tuple=True)
            ray, depth, needed = ray[left], depth[left], needed[left]
    return refused.new_full((len(view),), NEVER).scatter_reduce_(0, ray, needed, "amin")


def _in_picture(rays: Rays, cameras: Cameras, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return points of rays in their cameras, ``r`` of each, as start + depth * slope.

    Returns:
        Two ``3 r``: homogeneous coordinates of corners between pixels, x and y to be divided by z, half a one added so
        that the nearest corner is the whole number below.
    """
    rotation, (fx, fy, cx, cy) = cameras.camera_to_world[:, :3, :3], cameras.intrinsics.unbind(-1)
    found = []
    for vectors in (rays.origins - cameras.origins, rays.directions):
        x, y, z = (vectors[:, None] @ rotation)[:, 0].unbind(-1)
        found.append(torch.stack([(x * fx + z * cx) * width + z / 2, (y * fy + z * cy) * height + z / 2, z]))
    return found[0], found[1]


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
