"""Are the views pictures of one object, taken from the cameras that were asked for?

Two kinds of measure. ``hull_recall`` looks at the pictures alone and has learned nothing. The others ask the model's
own field: it is fused from the finished views at a low noise level and its renders are compared with them.
Axes: b objects, n views, c latent channels, h w latent size, H W image size.
"""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.sampling import SURFACE_TIMESTEP, fuse_clean
from tunemv3d_core.types import Text

RAY_SAMPLES = 192
"""Points a ray inside the unit sphere: at most 0.0104 apart, two thirds of a 128 px picture's pixel (0.0162 at the
distance 2.7 and focal length 1.3 of the chairs)."""


POSE_FIT = 0.5
"""Intersection over union from which on a field's silhouette can tell a view's pose."""


def silhouettes(images: Tensor, threshold: float = 0.05) -> Tensor:
    """Find the pixels that show the object: those that differ from the white ground.

    Args:
        images: ``... 3 H W`` in [-1, 1].
        threshold: how far a channel, in [0, 1], must lie below white: above the haze that a decoder leaves on a white
            ground (0.005 for sd-mini), below the shading of white objects: at 0.1 white chairs and sofas lose up to a
            third of their surface. What is lit as white as the ground itself cannot be told from it at any threshold.

    Returns:
        ``... H W``, boolean.
    """
    return (1 - (images + 1) / 2).amax(dim=-3) > threshold


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
        left = torch.arange(points.shape[0] * points.shape[1], device=points.device)
        for other in range(len(silhouettes)):
            if other != view:
                left = left[_seen_as_foreground(points.flatten(0, 1)[left], cameras[other], near_foreground[other])]
        inside = torch.zeros(len(points), dtype=torch.bool, device=points.device)
        inside[left // points.shape[1]] = True
        shares.append(inside.float().mean())
    return torch.stack(shares).mean() if shares else torch.zeros((), device=silhouettes.device)


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


@torch.no_grad()
def leave_one_out(
    model: MultiviewDiffusion,
    latents: Tensor,
    text: Text,
    cameras: Cameras,
    t: float = SURFACE_TIMESTEP,
    seed: int = 0,
) -> Tensor:
    """PSNR between each decoded view and the field's render of it, fused from the other views alone.

    Args:
        model: with a field that gives latents.
        latents: ``b n c h w``, clean.
        text: b prompts.
        cameras: ``b n``.
        t: timestep of the noise that is added before fusing.
        seed: of that noise.

    Returns:
        ``b``: decibels over the whole picture, the mean over views of each view's PSNR.
    """
    n, size = latents.shape[1], (latents.shape[-2], latents.shape[-1])
    others = torch.tensor([[j for j in range(n) if j != i] for i in range(n)], device=latents.device)
    results = []
    for i, views in enumerate(latents):
        # One batch of n objects, each lacking another of the views.
        repeated = text.map(lambda x, i=i: x[i : i + 1]).per_view(n)
        scene = fuse_clean(model, views[others], repeated, cameras[i][others], t, seed)
        rendered = model.blend(scene.render(cameras[i][:, None], size), size)[:, 0]
        decoded = model.backbone.decode_latents(torch.stack([rendered, views]))
        results.append(psnr(decoded[0].float(), decoded[1].float()).mean())
    return torch.stack(results)


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of ``... 3 H W`` images in [-1, 1], clamped to it: ``...``, decibels."""
    error = (images.clamp(-1, 1) - references.clamp(-1, 1)).square().mean((-3, -2, -1)) / 4
    return -10 * error.clamp(min=1e-10).log10()


def opacity_iou(opacity: Tensor, silhouettes: Tensor) -> Tensor:
    """Intersection over union of the field's opacity and the pictures' silhouettes, averaged over the views.

    Args:
        opacity: ``b n h w``, 0 to 1; foreground above 0.5.
        silhouettes: ``b n H W``, boolean; averaged over each latent cell, foreground above 0.5.

    Returns:
        ``b``, 0 to 1; a view that is empty in both counts as 1.
    """
    return _iou(opacity > 0.5, _in_cells(silhouettes, opacity)).mean(-1)


def pose_agreement(opacity: Tensor, silhouettes: Tensor, tolerance: float = 0.02) -> Tensor:
    """The share of views that follow their camera.

    A view follows if, among the field's silhouettes from all n cameras, that from its own camera fits it best (highest
    intersection over union), or all but ``tolerance`` as well: symmetric objects look alike from several sides. The fit
    must be ``POSE_FIT`` at least, because a round blob looks alike from everywhere and agrees with nothing.

    Args:
        opacity: ``b n h w``, the field's, from the n cameras.
        silhouettes: ``b n H W``, the pictures', boolean.
        tolerance: by how much another camera may fit better.

    Returns:
        ``b``, 0 to 1. Views drawn without regard to the camera score about 1/n, more if the object is symmetric.
    """
    fits = _iou((opacity > 0.5)[:, None], _in_cells(silhouettes, opacity)[:, :, None])
    own = fits.diagonal(dim1=1, dim2=2)
    return ((own >= POSE_FIT) & (own >= fits.amax(-1) - tolerance)).float().mean(-1)


def _in_cells(silhouettes: Tensor, opacity: Tensor) -> Tensor:
    """Silhouettes ``b n H W`` at the opacity's size: cells of which more than half is foreground."""
    return adaptive_avg_pool2d(silhouettes.float(), (opacity.shape[-2], opacity.shape[-1])) > 0.5


def _iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boolean ``... h w``; 1 where both are empty."""
    union = (one | other).sum((-2, -1))
    return torch.where(union > 0, (one & other).sum((-2, -1)) / union.clamp(min=1), 1.0)
