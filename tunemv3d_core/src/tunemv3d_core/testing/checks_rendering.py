"""Checks that a field's scene renders what a camera sees: its rays, and what values, opacity and depth mean."""

import math
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.testing.check import ConformanceError, NotApplicableError
from tunemv3d_core.testing.component import ComponentUnderTest, awake
from tunemv3d_core.testing.posed import (
    ABOUT_X,
    ABOUT_Y,
    SIZE,
    distances,
    grazing,
    input_views,
    needs_novel_views,
    pixels_passing,
    query_cameras,
    render_pixels,
    rolled,
    rolled_pixels,
    scene_of,
    sphere_depths,
    turn,
)
from tunemv3d_core.types import Rendering

RAYS = 64

NAMES = ("values", "opacity", "depth")

ROUNDING = 1e-3
"""Largest mean error of outputs along the same rays, as a share of the mean absolute output."""

NOTHING = 1e-4
"""Largest opacity, value and depth of a ray that misses the sphere."""

SEEN = 0.2
"""Opacity above which a depth is compared with the sphere."""

OF_COLOUR = 4.0
"""Largest ratio of the colours, values divided by opacity, of faint rays and of opaque ones."""

BESIDE = 0.05
"""Distance by which a depth may lie beside the sphere, as that of a splat may, world units."""


@torch.no_grad()
def check_rolled_camera(component: ComponentUnderTest) -> None:
    """A query camera turned by 90 degrees about its axis shows the same picture, turned."""
    scene, cameras = _scene(component)
    pixels = pixels_passing(cameras, distances(0.0, 0.95, RAYS))
    plain = render_pixels(scene, cameras, pixels, normals=True)
    turned = render_pixels(scene, rolled(cameras), rolled_pixels(pixels), normals=True, size=SIZE[::-1])
    for name in (*NAMES, "normals"):
        if getattr(plain, name) is not None:
            _same(name, getattr(plain, name), getattr(turned, name), "turned by 90 degrees about its axis")


@torch.no_grad()
def check_turned_camera(component: ComponentUnderTest) -> None:
    """A query camera turned about its centre sees the same along the same rays, at depths in the ratio of z."""
    scene, cameras = _scene(component)
    pixels = pixels_passing(cameras, distances(0.0, 0.95, RAYS))
    other = turn(turn(cameras, ABOUT_Y, 0.2), ABOUT_X, -0.15)
    other = Cameras(other.camera_to_world, other.intrinsics * other.intrinsics.new_tensor([0.8, 1.1, 1.1, 0.9]))
    rays = cameras.rays((1, 1), pixels)
    there, z = other.project(rays.origins + rays.directions)
    plain, turned = render_pixels(scene, cameras, pixels), render_pixels(scene, other, there)
    how = "turned about its centre, along the same rays"
    for name in ("values", "opacity"):
        _same(name, getattr(plain, name), getattr(turned, name), how)
    _same("depth", plain.depth * z, turned.depth, f"{how} (depth is z in the camera, not the length of the ray)")


@torch.no_grad()
def check_query_views_apart(component: ComponentUnderTest) -> None:
    """A query camera shows the same alone and among others."""
    scene, cameras = _scene(component)
    pixels = pixels_passing(cameras, distances(0.0, 0.95, RAYS))
    together = render_pixels(scene, cameras, pixels)
    for k in range(cameras.shape[1]):
        alone = render_pixels(scene, cameras[:, k : k + 1], pixels[:, k : k + 1])
        for name in NAMES:
            _same(name, getattr(together, name)[:, k : k + 1], getattr(alone, name), "rendered alone")


@torch.no_grad()
def check_empty_outside_sphere(component: ComponentUnderTest) -> None:
    """Rays that miss the unit sphere, or have it behind them, give opacity, values and depth of 0."""
    scene, cameras = _scene(component)
    pixels = pixels_passing(cameras, distances(1.02, 1.5, RAYS))
    away = turn(cameras, ABOUT_Y, math.pi)
    for where, seeing in (("that miss the unit sphere", cameras), ("of a camera that looks away", away)):
        seen = render_pixels(scene, seeing, pixels)
        for name in ("opacity", "values", "depth"):
            most = float(getattr(seen, name).abs().max())
            if not most <= NOTHING:
                raise ConformanceError(
                    f"rays {where} have {name} of up to {most:.2g}; where nothing is, it is 0. Objects lie in the "
                    "sphere, and core blends the background in"
                )


@torch.no_grad()
def check_depth_within_sphere(component: ComponentUnderTest) -> None:
    """Where something is seen, its depth lies between those at which the ray enters and leaves the sphere."""
    cameras, pixels, seen = _profile(component)
    _, near, far = sphere_depths(cameras, pixels)
    counts = seen.opacity > SEEN
    outside = torch.maximum(near - seen.depth, seen.depth - far)[counts]
    if outside.numel() and not float(outside.max()) <= BESIDE:
        worst = int(outside.argmax())
        depth, low, high = (float(z[counts][worst]) for z in (seen.depth, near, far))
        raise ConformanceError(
            f"a ray of opacity {float(seen.opacity[counts][worst]):.2g} has depth {depth:.3g}, but is in the sphere "
            f"from {low:.3g} to {high:.3g}: depth is z in the camera, divided by opacity"
        )


@torch.no_grad()
def check_premultiplied_values(component: ComponentUnderTest) -> None:
    """Values are premultiplied by opacity: nearly 0 where opacity is."""
    _, _, seen = _profile(component)
    strength, opacity = seen.values.float().abs().mean(2).flatten(), seen.opacity.float().flatten()
    opaque = opacity >= opacity.quantile(0.75)
    usual = float(opacity[opaque].median())
    faint = (opacity < usual / 10) & (opacity > usual / 2000)
    if int(faint.sum()) < 5:
        raise NotApplicableError("untrained, it shows too few rays of low opacity to compare")
    colour, found = (float((strength[rays] / opacity[rays]).median()) for rays in (opaque, faint))
    if not found <= OF_COLOUR * colour:
        raise ConformanceError(
            f"values divided by opacity are {colour:.2g} where opacity is about {usual:.2g}, and {found:.2g} where it "
            "is below a tenth of that: multiply values by opacity, and add no background"
        )


def _scene(component: ComponentUnderTest) -> tuple[Any, Cameras]:
    """Fuse input views; return the scene and query cameras."""
    built = awake(component)
    needs_novel_views(built)
    return scene_of(built, input_views(built)), query_cameras(built)


def _profile(component: ComponentUnderTest) -> tuple[Cameras, Tensor, Rendering]:
    """Render rays that pass the origin at all distances up to the sphere's radius."""
    scene, cameras = _scene(component)
    pixels = pixels_passing(cameras, grazing(RAYS))
    return cameras, pixels, render_pixels(scene, cameras, pixels)


def _same(name: str, plain: Tensor, other: Tensor, how: str) -> None:
    error = float((plain - other).float().abs().mean())
    if not error <= ROUNDING * float(plain.float().abs().mean()) + 1e-7:
        raise ConformanceError(
            f"{name} change by {error:.2g} of {float(plain.float().abs().mean()):.2g} where a query camera is {how}. "
            "Compare the rays with Cameras.rays"
        )


CHECKS: tuple[()] = ()
OF_SLOT = {
    "field": (
        check_rolled_camera,
        check_turned_camera,
        check_query_views_apart,
        check_empty_outside_sphere,
        check_depth_within_sphere,
        check_premultiplied_values,
    )
}
