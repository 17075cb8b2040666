"""Depth and normals: in the stated units and axes, and of the same object as the silhouettes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tunemv3d_core.io.depth_normals import read_depth, read_normals
from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.hull import covered, project
from tunemv3d_data.doctor.silhouettes import Floats, Masks
from tunemv3d_data.doctor.views import ObjectViews

_POINTS, _PARTNERS = 300, 4
"""Points per view, and the nearest other views in which they are looked for."""

_FARTHEST, _SEEN = 0.1, 0.3
"""Where misses are cut, as a share of the distance; and the share of points that near views see as well."""

_SMALL, _LARGE = 0.008, 0.03
"""Misses below the first are sound; above the second they are wrong, even if nothing explains them."""

_UNITS = (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0)


@dataclass(frozen=True)
class _Samples:
    """Pixels of one view that have depth: rays with z = 1 in the camera ``p 3``, and what is stored there, ``p``."""

    rays: Floats
    depth: Floats


def depth_fits(views: ObjectViews) -> Iterator[Finding]:
    """Depth lies where alpha is, is z depth in world units, and agrees between views."""
    record = views.record
    if not record.depth_files or views.is_opaque or views.is_inverted:
        return
    maps = [np.asarray(read_depth(views.folder / file), dtype=np.float64) for file in record.depth_files]
    if any(depth.shape != record.size for depth in maps):
        text = f"depth files are not all {record.size[1]} x {record.size[0]} pixels"
        yield Finding("depth-size", record.id, text, "render depth at the pictures' size")
        return
    maps = [_like(depth, mask) for depth, mask in zip(maps, views.masks, strict=True)]
    wrong = [
        float(((depth > 0) != mask).sum() / max(mask.sum(), 1)) for depth, mask in zip(maps, views.masks, strict=True)
    ]
    if strange := tuple(np.flatnonzero(np.array(wrong) > 0.15).tolist()):
        text = f"depth and alpha cover different pixels in {len(strange)} of {len(views)} views"
        advice = "render both together; depth is 0 exactly where alpha is 0"
        yield Finding("depth-alpha", record.id, text, advice, strange, {"share": round(max(wrong), 3)})
        return
    if len(views.trusted) >= 2:
        yield from _between_views(views, maps)


def _between_views(views: ObjectViews, maps: list[Floats]) -> Iterator[Finding]:
    """Points that one view's depth gives lie on the surfaces that the neighbouring views see."""
    samples = [_samples(views, index, maps[index]) for index in range(len(views))]
    away = {name: _misfit(views, maps, samples, turn) for name, turn in _depth_readings().items()}
    size = float(np.median([depth[depth > 0].mean() for depth in maps if (depth > 0).any()]))
    best = min(away, key=lambda name: away[name])
    numbers = {f"misfit_{name}": round(value, 4) for name, value in away.items() if name in ("z", best)}
    explained = away[best] < 0.6 * away["z"]
    if away["z"] < (_SMALL if explained else _LARGE):
        return
    id_, every = views.record.id, tuple(range(len(views)))
    if not explained:
        text = "depth of different views does not meet in the same surface"
        yield Finding("depth-inconsistent", id_, text, "render depth again from these cameras", every, numbers)
    elif best == "ray length":
        text, advice = "depth is the length of the ray, not z", "divide it by the length of the pixel's ray with z = 1"
        yield Finding("depth-ray-length", id_, text, advice, every, numbers)
    else:
        factor = best.removeprefix("unit ")
        text = f"depth is in another unit: {factor} times what is stored (mean {size:.3g}) fits the cameras"
        advice = f"multiply depth by {factor}; 16-bit files hold 1/1000 world units"
        yield Finding("depth-unit", id_, text, advice, every, numbers)


def _depth_readings() -> dict[str, Callable[[Floats, Floats], Floats]]:
    """Convert what is stored to z depth, by the rays' lengths, in each way that others store it; by name."""
    units = {f"unit {unit:g}": lambda depth, length, unit=unit: depth * unit for unit in _UNITS}
    return {"z": lambda depth, length: depth, "ray length": lambda depth, length: depth / length, **units}


def _samples(views: ObjectViews, index: int, depth: Floats) -> _Samples:
    y, x = np.nonzero((depth > 0) & (views.alphas[index] == 255))
    some = np.unique(np.linspace(0, len(y) - 1, min(_POINTS, len(y))).astype(int)) if len(y) else np.zeros(0, int)
    h, w = depth.shape
    rays = _rays(views, index, (x[some] + 0.5) / w, (y[some] + 0.5) / h)
    return _Samples(rays, depth[y[some], x[some]])


def _rays(views: ObjectViews, index: int, x: Floats, y: Floats) -> Floats:
    fx, fy, cx, cy = views.intrinsics[index]
    return np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], -1)


def _misfit(
    views: ObjectViews, maps: list[Floats], samples: list[_Samples], turn: Callable[[Floats, Floats], Floats]
) -> float:
    """Measure how far points lie from the surfaces that near views see, as a share of distance, over those seen."""
    trusted, found = list(views.trusted), []
    forward = views.poses[trusted, :3, 2]
    for place, index in enumerate(trusted):
        here, pose = samples[index], views.poses[index]
        z = turn(here.depth, np.linalg.norm(here.rays, axis=1))
        points = (here.rays * z[:, None]) @ pose[:3, :3].T + pose[:3, 3]
        nearest = np.argsort(-(forward @ forward[place]))
        for other in [trusted[k] for k in nearest if k != place][:_PARTNERS]:
            found.append(_off_surface(views, other, maps[other], points, turn))
    together = np.concatenate(found)
    return float(np.quantile(together, _SEEN)) if len(together) else 0.0


def _off_surface(
    views: ObjectViews, other: int, depth: Floats, points: Floats, turn: Callable[[Floats, Floats], Floats]
) -> Floats:
    """Measure how far points are from the surface that a view sees there, as a share of their distance; cut."""
    pose, lens = views.poses[other], views.intrinsics[other]
    at, z = project(points, pose, lens)
    off = np.full(len(points), _FARTHEST)
    inside = covered(points, depth > 0, pose, lens)
    h, w = depth.shape
    x, y = (at[inside] * (w, h)).astype(int).T
    surface = turn(depth[y, x], np.linalg.norm(_rays(views, other, at[inside, 0], at[inside, 1]), axis=1))
    off[inside] = np.clip(np.abs(surface - z[inside]) / z[inside], 0, _FARTHEST)
    return off


def normals_fit(views: ObjectViews) -> Iterator[Finding]:
    """Normals are in the world's axes and point towards the camera that sees them."""
    record = views.record
    if not record.normal_files or views.fit is None or not views.fit.fits:
        return
    facing: dict[str, list[Floats]] = {}
    for index, file in enumerate(record.normal_files):
        normals = np.asarray(read_normals(views.folder / file), dtype=np.float64)
        y, x = np.nonzero(normals.any(-1))
        h, w = normals.shape[:2]
        rays, found, rotation = (
            _rays(views, index, (x + 0.5) / w, (y + 0.5) / h),
            normals[y, x],
            views.poses[index, :3, :3],
        )
        towards = -rays / np.linalg.norm(rays, axis=1, keepdims=True)
        world = {"world": found @ rotation, "OpenGL camera": found * (1, -1, -1), "OpenCV camera": found}
        for name, turned in world.items():
            facing.setdefault(name, []).append((turned * towards).sum(-1))
    share = {name: float((np.concatenate(values) > -0.05).mean()) for name, values in facing.items()}
    yield from _judged(views, share)


def _judged(views: ObjectViews, share: dict[str, float]) -> Iterator[Finding]:
    if share["world"] > 0.9 or np.isnan(share["world"]):
        return
    id_, numbers = views.record.id, {f"facing_{name.replace(' ', '_')}": round(v, 3) for name, v in share.items()}
    best, every = max(share, key=lambda name: share[name]), tuple(range(len(views)))
    if share["world"] < 0.15:
        text, advice = "normals point into the object", "negate them"
        yield Finding("normals-inward", id_, text, advice, every, numbers)
    elif share[best] > 0.9:
        text, advice = f"normals are in {best} space, not in the world's", "multiply them by the camera's rotation"
        yield Finding("normals-camera-space", id_, text, advice, every, numbers)
    else:
        text = f"only {share['world']:.0%} of the normals face the camera"
        yield Finding("normals-inconsistent", id_, text, "render normals again, in the world's axes", every, numbers)


def _like(depth: Floats, mask: Masks) -> Floats:
    """Depth at the pixels that were read of a larger picture."""
    step = max(1, round(depth.shape[0] / mask.shape[0]))
    return depth[step // 2 :: step, step // 2 :: step][: mask.shape[0], : mask.shape[1]]
