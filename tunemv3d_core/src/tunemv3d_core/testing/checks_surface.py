"""Checks that a scene's normals and signed distances are those of the surface that it renders."""

from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import HasSurface
from tunemv3d_core.testing.check import ConformanceError, NotApplicableError
from tunemv3d_core.testing.component import ComponentUnderTest, awake
from tunemv3d_core.testing.posed import (
    distances,
    input_views,
    needs_novel_views,
    pixels_passing,
    query_cameras,
    render_pixels,
    scene_of,
    sphere_depths,
)
from tunemv3d_core.types import Rendering

RAYS, STEPS = 48, 48

MILD = 0.03
"""Standard deviation of parameters that start at zero, such that the surface stays about where it starts."""

SEEN, OPAQUE = 0.05, 0.8

CLEAR_OF = 0.1
"""World units that a ray passes above or below the surface, to be judged."""

AT_SURFACE = 0.1
"""Largest mean distance at the rendered depth, world units."""

MOST = 0.85
"""Share of rays that must agree: few samples along a ray may miss what is thin."""

FOLLOWS = 0.7
"""Share of rays on which opacity and distance change together."""

ALONG = 0.8
"""Least mean cosine of normals and the distance's gradient."""

SCALE = (0.4, 2.5)
"""Lengths that the distance's gradient may have at the surface of an untrained field."""

STEP = 0.01
"""Step of finite differences, world units."""


@torch.no_grad()
def check_unit_normals(component: ComponentUnderTest) -> None:
    """Normals have length 1 where something is seen, and 0 where nothing was hit."""
    built = awake(component)
    needs_novel_views(built)
    scene, cameras = scene_of(built, input_views(built)), query_cameras(built)
    seen = render_pixels(scene, cameras, pixels_passing(cameras, distances(0.0, 1.4, RAYS)), normals=True)
    if seen.normals is None:
        raise NotApplicableError("it has no normals")
    lengths = seen.normals.float().norm(dim=2)
    for name, mask, wanted in (("seen", seen.opacity > SEEN, 1.0), ("not hit", seen.depth == 0, 0.0)):
        if bool(mask.any()) and not float((lengths[mask] - wanted).abs().mean()) < 0.02:
            raise ConformanceError(
                f"normals have a mean length of {float(lengths[mask].mean()):.2g} where something was {name}; it "
                f"should be {wanted:g}"
            )


@torch.no_grad()
def check_distance_of_surface(component: ComponentUnderTest) -> None:
    """The signed distance is that of the rendered surface: negative inside it, about 0 at the depth, falling there."""
    scene, cameras, pixels, seen = _rendered(component)
    lowest = _lowest(scene, cameras, pixels)
    for told, mask, agree in (
        ("pass through the inside", lowest < -CLEAR_OF, seen.opacity > 0.5),
        ("stay outside", lowest > CLEAR_OF, seen.opacity < 0.5),
    ):
        share = float(agree[mask].float().mean()) if bool(mask.any()) else 1.0
        if share < MOST:
            raise ConformanceError(
                f"of rays that {told} by signed_distance {share:.0%} are rendered so; it should be negative inside the "
                "surface that render shows, and positive outside"
            )
    hits = seen.opacity > OPAQUE
    if not bool(hits.any()):
        raise NotApplicableError("untrained, it shows no opaque surface to compare with")
    points, ray = _points_at(cameras, pixels, seen)[hits], cameras.rays((1, 1), pixels).directions[hits]
    error = float(_distances(scene, points[None]).abs().mean())
    if not error <= AT_SURFACE:
        raise ConformanceError(f"at the rendered depth signed_distance is {error:.2g}; it should be about 0")
    front, behind = (_distances(scene, (points + sign * AT_SURFACE * ray)[None]) for sign in (-1, 1))
    share = float((front > behind).float().mean())
    if share < MOST:
        raise ConformanceError(f"signed_distance falls through the surface on {share:.0%} of rays; it should on all")


@torch.no_grad()
def check_distance_follows_features(component: ComponentUnderTest) -> None:
    """Where other features make a ray more opaque, they make the signed distance along it smaller."""
    opacities, lowest = [], []
    for seed in (0, 7):
        scene, cameras, pixels, seen = _rendered(component, seed=seed)
        opacities.append(seen.opacity.flatten())
        lowest.append(_lowest(scene, cameras, pixels).flatten())
    counts = (opacities[1] - opacities[0]).abs() > 0.01
    if int(counts.sum()) < 5:
        raise NotApplicableError("untrained, features hardly change what is opaque")
    more, less = ((each[1] - each[0])[counts] for each in (opacities, lowest))
    share = float(((more > 0) == (less < 0)).float().mean())
    if share < FOLLOWS:
        raise ConformanceError(
            f"on {share:.0%} of the rays whose opacity other features change, signed_distance changes accordingly; it "
            "should be the distance that is rendered, of the same features, cameras and t"
        )


@torch.no_grad()
def check_distance_in_world_units(component: ComponentUnderTest) -> None:
    """Untrained, the signed distance changes by about 1 per world unit at its surface."""
    scene, cameras, pixels, seen = _rendered(component, fresh=True)
    hits = seen.opacity > OPAQUE
    if not bool(hits.any()):
        raise NotApplicableError("untrained, it shows no opaque surface to compare with")
    length = float(_gradient(scene, _points_at(cameras, pixels, seen)[hits]).norm(dim=-1).median())
    if not SCALE[0] <= length <= SCALE[1]:
        raise ConformanceError(
            f"signed_distance changes by {length:.2g} per world unit at the surface; distances are in world units, so "
            "that it is about 1"
        )


@torch.no_grad()
def check_normals_outward(component: ComponentUnderTest) -> None:
    """Normals point along the gradient of the signed distance, in world space."""
    scene, cameras, pixels, seen = _rendered(component)
    hits = seen.opacity > OPAQUE
    if seen.normals is None or not bool(hits.any()):
        raise NotApplicableError("it has no normals, or untrained no opaque surface")
    gradient = _gradient(scene, _points_at(cameras, pixels, seen)[hits])
    cosine = torch.cosine_similarity(gradient, seen.normals.transpose(2, 3)[hits].float(), dim=-1).mean()
    if not float(cosine) >= ALONG:
        raise ConformanceError(
            f"normals and the gradient of signed_distance have a mean cosine of {float(cosine):.2g}, not about 1: "
            "normals are in world space and point outward"
        )


def _rendered(
    component: ComponentUnderTest, fresh: bool = False, seed: int = 0
) -> tuple[Any, Cameras, Tensor, Rendering]:
    """Render a scene that has a surface, of features drawn by a seed; ``fresh``: as it is built."""
    built = component.built() if fresh else awake(component, MILD)
    built.module.eval()
    needs_novel_views(built)
    scene, cameras = scene_of(built, input_views(built, seed)), query_cameras(built)
    if not isinstance(scene, HasSurface):
        raise NotApplicableError("its scenes have no signed distance")
    pixels = pixels_passing(cameras, distances(0.0, 0.95, RAYS))
    return scene, cameras, pixels, render_pixels(scene, cameras, pixels, normals=True)


def _lowest(scene: Any, cameras: Cameras, pixels: Tensor) -> Tensor:
    """Return the smallest signed distance along rays within the sphere, ``1 m r``."""
    rays, near, far = sphere_depths(cameras, pixels)
    steps = torch.linspace(0, 1, STEPS, device=near.device)
    depths = (near[..., None] + (far - near)[..., None] * steps)[..., None]
    return _distances(scene, rays.origins[..., None, :] + depths * rays.directions[..., None, :]).amin(-1)


def _points_at(cameras: Cameras, pixels: Tensor, seen: Rendering) -> Tensor:
    rays = cameras.rays((1, 1), pixels)
    return rays.origins + seen.depth[..., None] * rays.directions


def _distances(scene: Any, points: Tensor) -> Tensor:
    """Return signed distances ``...`` at points ``1 ... 3``."""
    distances: Tensor = scene.signed_distance(points.flatten(1, -2))
    return distances.reshape(points.shape[:-1])


def _gradient(scene: Any, points: Tensor) -> Tensor:
    """Return central differences of the signed distance at points ``p 3``."""
    steps = STEP * torch.eye(3, device=points.device)
    ahead, behind = (_distances(scene, (points[:, None] + sign * steps)[None])[0] for sign in (1, -1))
    return (ahead - behind) / (2 * STEP)


CHECKS: tuple[()] = ()
OF_SLOT = {
    "field": (
        check_unit_normals,
        check_distance_of_surface,
        check_distance_follows_features,
        check_distance_in_world_units,
        check_normals_outward,
    )
}
