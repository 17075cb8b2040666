"""Checks that a field or an aggregator looks where the input views' cameras say that a point is."""

from collections.abc import Callable

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere, pixel_centres
from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import Built, ComponentUnderTest, awake
from tunemv3d_core.testing.posed import (
    PosedViews,
    distances,
    input_views,
    needs_novel_views,
    pixels_passing,
    query_cameras,
    render_pixels,
    scene_of,
    sphere_depths,
)

ROUNDING = 1e-4
"""Largest mean error that rounding explains, as a share of the mean absolute output."""

OF_RESPONSE = 0.02
"""Largest mean error as a share of what other features change."""

LEAST_RESPONSE = 0.01
"""Least that other cameras must change, as a share of what other features change."""

POINTS, RAYS, PROBES = 48, 48, 16

LOOK_UP, OF_LOOK_UP = 0.35, 0.995
"""Share of the sphere's cells that look-ups read at most, and share of what they read that lies at the projections."""

SLACK = 1.2
"""Largest mean gradient elsewhere, as a share of that at the projections, of a field that mixes features."""

NEARBY = 1.5
"""Cells around a projected point that bilinear interpolation may read, and half a cell."""


@torch.no_grad()
def check_rolled_views(component: ComponentUnderTest) -> None:
    """Input views turned by 90 degrees, together with their cameras, make the same scene."""
    _same_scene(
        component,
        PosedViews.rolled,
        "turned by 90 degrees together with their cameras",
        "x and y, rows and columns, fx and fy, and the half of a pixel by which centres are moved",
    )


@torch.no_grad()
def check_cropped_views(component: ComponentUnderTest) -> None:
    """Input views whose empty margins are cut off, with the lens that is left, make the same scene."""
    _same_scene(
        component,
        PosedViews.cropped,
        "cut to a part, with the intrinsics of that part",
        "the principal point, the focal lengths, and align_corners=False",
    )


@torch.no_grad()
def check_depends_on_cameras(component: ComponentUnderTest) -> None:
    """The same features from other cameras make another scene."""
    built = awake(component)
    views = input_views(built)
    other = PosedViews(views.features, views.cameras[:, torch.arange(views.cameras.shape[1]).roll(5)], views.t)
    for plain, moved, response in _compared(built, views, other).values():
        if float((plain - moved).abs().mean()) > LEAST_RESPONSE * response:
            return
    raise ConformanceError(
        "what it gives is the same whichever cameras saw the features: look points up by the cameras"
    )


@torch.no_grad()
def check_depends_on_t(component: ComponentUnderTest) -> None:
    """Another noise level makes another scene."""
    built = awake(component)
    views = input_views(built)
    other = PosedViews(views.features, views.cameras, torch.full_like(views.t, 900.0))
    before, after = _outputs(built, views), _outputs(built, other)
    if all(float((before[name] - after[name]).abs().max()) <= 1e-6 for name in before):
        raise ConformanceError("t = 300 and t = 900 give the same scene: tell the network the noise level")


def check_looks_along_rays(component: ComponentUnderTest) -> None:
    """What a pixel shows depends on the views where its ray is seen, not on other places of them."""
    built = awake(component)
    needs_novel_views(built)
    views = _of_objects(input_views(built, near=True), PROBES)
    cameras = query_cameras(built)[:, :1]
    pixels = pixels_passing(cameras, distances(0.25, 0.85, PROBES)).transpose(1, 2)  # one per object
    rays, near, far = sphere_depths(cameras, pixels[..., 0, None, :].reshape(1, 1, PROBES, 2))
    steps = torch.linspace(0, 1, 48, device=built.device)
    depths = near[0, 0, :, None] + (far - near)[0, 0, :, None] * steps
    points = rays.origins[0, 0, :, None] + depths[..., None] * rays.directions[0, 0, :, None]
    scene = scene_of(built, views)
    shown = render_pixels(scene, cameras.expand(PROBES, 1), pixels.reshape(PROBES, 1, 1, 2))
    _compare_places(views, shown.values, points, "a pixel", "along its ray")


def check_looks_at_points(component: ComponentUnderTest) -> None:
    """What it gives at a point depends on the views where the point is seen, not on other places of them."""
    built = awake(component)
    views = _of_objects(input_views(built, near=True), PROBES)
    points = _points(built, PROBES)[0, :, None]
    aggregated = built.module(views.features, views.cameras, points)
    _compare_places(views, aggregated, points, "a point", "where it is seen")


def _compare_places(views: PosedViews, outputs: Tensor, points: Tensor, whose: str, where: str) -> None:
    """Compare the gradient of the features near the points' projections with that at other cells of the sphere.

    Look-ups read no other cell. A field may also mix features, as by convolutions over its volume; then it depends more
    on the cells near the projections than on others, and than on those near the points' mirror images.

    Args:
        views: of b objects; the gradient of their features is computed.
        outputs: ``b ...``.
        points: ``b s 3``.
        whose: what the outputs are those of.
        where: where they should depend on the views.
    """
    (gradient,) = torch.autograd.grad(outputs.float().abs().sum(), views.features)
    h, w = views.features.shape[-2:]
    weight = gradient.abs().sum(2).flatten(2)  # b n hw
    cells, size = pixel_centres((h, w), device=weight.device), weight.new_tensor([w, h])
    shows = intersect_sphere(views.cameras.rays((h, w)))[2]

    def near(points: Tensor) -> Tensor:
        return torch.cdist(cells * size, views.cameras.project(points[:, None])[0] * size).amin(-1) < NEARBY

    inside = near(points)
    there, elsewhere = weight[shows & inside].mean(), weight[shows & ~inside].mean()
    signs = 1 - 2 * torch.eye(3).to(points)
    images = {f"mirrored in {axis}": points * signs[k] for k, axis in enumerate("xyz")}
    found = {name: weight[shows & near(image) & ~inside].mean() for name, image in images.items()}
    looks = float((weight > 0)[shows].float().mean()) < LOOK_UP
    share = ((weight * inside * shows).sum((1, 2)) / (weight * shows).sum((1, 2))).mean()
    if looks and not share >= OF_LOOK_UP:
        raise ConformanceError(
            f"only {float(share):.0%} of what {whose} depends on lies {where} in the views. Compare the look-up with "
            "Cameras.project: axes, signs, handedness, which camera belongs to which view"
        )
    as_if = [f", as if the world were {name}" for name, weight_ in found.items() if not bool(weight_ <= SLACK * there)]
    if as_if or not bool(elsewhere <= SLACK * there):
        raise ConformanceError(
            f"{whose} depends more on other places of the views than on those {where}{''.join(as_if[:1])}. Compare the "
            "look-up with Cameras.project: axes, signs, handedness"
        )


def _of_objects(views: PosedViews, objects: int) -> PosedViews:
    """Repeat one object, and ask for gradients of its features."""
    shape = (objects, *views.features.shape[1:])
    features = views.features.expand(shape).clone().requires_grad_()
    return PosedViews(features, views.cameras.expand(objects, shape[1]), views.t.expand(objects))


def _same_scene(
    component: ComponentUnderTest, change: Callable[[PosedViews], PosedViews], how: str, suspects: str
) -> None:
    built = awake(component)
    if built.slot == "field":
        needs_novel_views(built)
    views = input_views(built)
    for name, (plain, changed, response) in _compared(built, views, change(views)).items():
        error = float((plain - changed).abs().mean())
        if not error <= ROUNDING * float(plain.abs().mean()) + OF_RESPONSE * response:
            raise ConformanceError(
                f"{name} change by {error:.2g} where the input views are {how} (other features change them by "
                f"{response:.2g}); they should stay. Look at {suspects}. Of a field "
                "that convolves maps before it looks points up it is to be expected"
            )


def _compared(built: Built, views: PosedViews, other: PosedViews) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Return each output of some views, that of others, and how much entirely different features change it."""
    strange = PosedViews(input_views(built, seed=7).features, views.cameras, views.t)
    plain, changed, far = (_outputs(built, each) for each in (views, other, strange))
    return {name: (plain[name], changed[name], float((plain[name] - far[name]).abs().mean())) for name in plain}


def _outputs(built: Built, views: PosedViews) -> dict[str, Tensor]:
    """Return what a field shows of the views, or an aggregator makes of them, at fixed places."""
    if built.slot == "aggregator":
        return {"aggregated features": built.module(views.features, views.cameras, _points(built, POINTS)).float()}
    free = built.module.ports.novel_views
    cameras: Cameras = query_cameras(built) if free else views.cameras
    pixels = pixels_passing(cameras if free else input_views(built).cameras, distances(0.0, 0.8, RAYS))
    shown = render_pixels(scene_of(built, views), cameras, pixels)
    return {"values": shown.values.float(), "opacity": shown.opacity.float()}


def _points(built: Built, count: int) -> Tensor:
    """Draw points ``1 p 3`` of the unit sphere."""
    generator = torch.Generator().manual_seed(2)
    directions = torch.randn(1, count, 3, generator=generator)
    lengths = torch.rand(1, count, 1, generator=generator)
    points: Tensor = directions / directions.norm(dim=-1, keepdim=True) * lengths.sqrt()
    return points.to(built.device)


CHECKS: tuple[()] = ()
_OF_BOTH = (check_rolled_views, check_cropped_views, check_depends_on_cameras)
OF_SLOT = {
    "field": (*_OF_BOTH, check_depends_on_t, check_looks_along_rays),
    "aggregator": (*_OF_BOTH, check_looks_at_points),
}
