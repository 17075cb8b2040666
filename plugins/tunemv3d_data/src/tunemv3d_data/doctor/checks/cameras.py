"""Cameras that do not belong to the pictures: conventions, units, order, single views."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import CameraError
from tunemv3d_core.view_selection import unseen_side
from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.fit import OUTLIER, Fit, camera_that_took
from tunemv3d_data.doctor.silhouettes import Floats
from tunemv3d_data.doctor.summary import Summary
from tunemv3d_data.doctor.views import ObjectViews

_AXES = {"+z": (2, 1), "+y": (1, 1), "-z": (2, -1), "-y": (1, -1), "+x": (0, 1), "-x": (0, -1)}


def rigid(views: ObjectViews) -> Iterator[Finding]:
    """Poses are rotations and translations; mirrored ones are left to the silhouettes to explain."""
    try:
        views.record.cameras.check()
    except CameraError as error:
        explained = views.fit is not None and views.fit.reading is not None
        if "inside the object" in str(error) or explained:
            return
        if any(word in str(error) for word in ("focal length", "principal point")):
            yield Finding("camera-lens", views.record.id, str(error), "write fl_x, fl_y, cx and cy in pixels")
        else:
            advice = "store rigid camera-to-world matrices: take scale and mirroring out of the rotation"
            yield Finding("camera-not-rigid", views.record.id, str(error), advice)


def straight(views: ObjectViews) -> Iterator[Finding]:
    """No lens bends straight lines; the other checks see the pictures straightened."""
    if views.source is not None and (bent := views.source.distortion):
        advice = "tunemv3d data convert --undistort"
        yield Finding("lens-distortion", views.record.id, bent, advice, tuple(range(len(views))))


def fit_silhouettes(views: ObjectViews) -> Iterator[Finding]:
    """All views' outlines touch the same planes, and the object lies before the cameras."""
    fit, every = views.fit, tuple(range(len(views)))
    if fit is None:
        return
    numbers = {"error_pixels": round(fit.error, 2), "tolerance_pixels": round(views.tolerance, 2)}
    if fit.reading is not None:
        text = f"the cameras do not fit the silhouettes; they look like {fit.reading.name}"
        yield Finding(fit.reading.check, views.record.id, text, views.advice, every, numbers)
    elif not fit.fits:
        away = "" if fit.in_front else "; the object lies behind them"
        text = f"the cameras do not fit the silhouettes under any known convention{away}"
        advice = "export the cameras again, together with the pictures; check their order and the masks"
        yield Finding("camera-unknown", views.record.id, text, advice, every, numbers)
    else:
        yield from _single_views(views, fit)


def _single_views(views: ObjectViews, fit: Fit) -> Iterator[Finding]:
    """Views that do not belong to the others: exchanged pictures, another object, a wrong camera."""
    id_, strange = views.record.id, [int(i) for i in views.whole if fit.errors[i] > OUTLIER * views.tolerance]
    foreign = [i for i in strange if _has_other_colours(views, i)]
    taken_by = {
        i: camera_that_took(views.seen, i, {*strange, *_copies(views, i)}, views.trusted)
        for i in strange
        if i not in foreign
    }
    moved = {i: camera for i, camera in taken_by.items() if camera is not None}
    lost = [i for i in strange if i not in foreign and i not in moved]
    if moved:
        pairs = ", ".join(f"picture {i} was taken by camera {camera}" for i, camera in moved.items())
        advice = "exchange the pictures or the cameras"
        yield Finding("picture-order", id_, pairs, advice, tuple(moved), _worst(fit.errors, list(moved)))
    if foreign:
        text = f"{_views(foreign)} {'shows' if len(foreign) == 1 else 'show'} another object: neither outline nor "
        advice = "replace the picture, or take the view out"
        yield Finding("foreign-view", id_, text + "colours fit", advice, tuple(foreign), _worst(fit.errors, foreign))
    if lost:
        text = f"the camera of {_views(lost)} does not fit its picture"
        advice = "correct its pose, or take the view out"
        yield Finding("camera-of-view", id_, text, advice, tuple(lost), _worst(fit.errors, lost))


def _copies(views: ObjectViews, view: int) -> list[int]:
    """Other views with the same picture."""
    own = views.pictures[view].rgba
    return [i for i, picture in enumerate(views.pictures) if i != view and np.array_equal(picture.rgba, own)]


def _views(indices: Sequence[int]) -> str:
    return ("view " if len(indices) == 1 else "views ") + ", ".join(map(str, indices))


def _worst(errors: Floats, views: list[int]) -> dict[str, float]:
    return {"error_pixels": round(float(errors[views].max()), 2)}


def _has_other_colours(views: ObjectViews, view: int) -> bool:
    """Tell whether a view's colours are further from the trusted views' than any of these are from the others."""
    trusted = list(views.trusted)
    histograms = np.stack([_histogram(views.pictures[i].rgba[views.masks[i]]) for i in [*trusted, view]])
    among = [0.5 * np.abs(histograms[k] - np.delete(histograms[:-1], k, 0)).sum(1).min() for k in range(len(trusted))]
    own = 0.5 * np.abs(histograms[-1] - histograms[:-1]).sum(1).min()
    return bool(own > max(0.3, 1.5 * max(among)))


def _histogram(pixels: np.ndarray) -> Floats:
    colours = (pixels[:, :3] // 64).astype(np.int64) @ np.array([16, 4, 1])
    return np.bincount(colours, minlength=64) / max(len(colours), 1)


def world_up(views: ObjectViews) -> Iterator[Finding]:
    """The world's z is up: cameras without roll have it above their picture."""
    if len(views) < 4 or (poses := views.likely_poses) is None or (upward := _upward(poses)) is None:
        return
    axis, mean = upward
    if axis != "+z":
        text = f"the world's {axis} axis points up in the pictures, not its z axis"
        rotation = {"+y": "(x, y, z) to (x, -z, y)", "-z": "(x, y, z) to (x, -y, -z)"}.get(axis, f"{axis} to +z")
        command = f"tunemv3d data convert --up={axis.lstrip('+')}"
        advice = f"rotate all poses from the left, {rotation}; where all objects are so, {command}"
        yield Finding("world-up", views.record.id, text, advice, (), {"upward": round(mean, 3)})


def _upward(poses: Floats) -> tuple[str, float] | None:
    """Find the world's axis that cameras without roll have above their pictures ("+z" where it is among them).

    Returns:
        Its name and the mean of how far it points up in the pictures, 0 to 1; None where no axis does.
    """
    right, up = poses[:, :3, 0], -poses[:, :3, 1]
    level = {name: np.abs(right[:, axis]).mean() < 0.03 for name, (axis, _) in _AXES.items()}
    upward = {name: float(sign * up[:, axis].mean()) for name, (axis, sign) in _AXES.items()}
    turned = np.linalg.norm(right - right.mean(0), axis=1).max() > 0.3
    fitting = [name for name in _AXES if level[name] and upward[name] > 0.2]
    if not turned or not fitting:
        return None
    axis = "+z" if "+z" in fitting else fitting[0]
    return axis, upward[axis]


def one_sided(views: ObjectViews) -> Iterator[Finding]:
    """Cameras stand on all sides of the object, as far as the world's z is up; a ring at one elevation does."""
    poses = views.likely_poses
    if poses is None or ((upward := _upward(poses)) is not None and upward[0] != "+z"):
        return
    side = unseen_side(Cameras(torch.from_numpy(poses), views.record.cameras.intrinsics))
    if side is not None:
        numbers = {"azimuth": round(side.azimuth, 1), "angle": round(side.angle, 1)}
        advice = "add views from there, or take the object out: nothing can be learned of that side"
        yield Finding("one-sided", views.record.id, str(side), advice, (), numbers, level="warning")


def half_pixel(summaries: Sequence[Summary]) -> Iterator[Finding]:
    """The principal point is not half a pixel off, as when pixels are counted from their corners; over all objects."""
    known = np.array([summary.shifted for summary in summaries if summary.shifted])
    if not len(known):
        return
    left, here, right = known.mean(0)
    if min(left, right) < 0.75 * here:
        side, add = ("right", "subtract") if left < right else ("left", "add")
        text = f"the principal point is half a pixel too far {side}: outlines fit better without"
        advice = f"{add} 0.5 at cx (and cy); pixel i is centred at i + 0.5, so that a picture's middle is w / 2"
        numbers = {"error_pixels": round(float(here), 3), "without": round(float(min(left, right)), 3)}
        yield Finding("half-pixel", "", text, advice, (), numbers)
