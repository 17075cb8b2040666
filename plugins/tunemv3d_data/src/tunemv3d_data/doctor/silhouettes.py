"""Fit of silhouettes and cameras: two views of one object share the planes that touch it.

A plane through two camera centres that touches the object in one view touches it in the other. How many pixels the
other view's outline misses that plane by needs no 3D shape and no scale, and costs microseconds a pair.

Source: Hernandez, Schmitt and Cipolla 2007, Silhouette Coherence for Camera Calibration under Circular Motion
(epipolar tangency).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Masks = NDArray[np.bool_]

_CORNERS = 64
"""Directions in which an outline's outermost point is taken: within 0.1 pixels of the convex outline."""


def outline(mask: Masks) -> Floats:
    """Return the convex outline of a mask ``h w``: ``p 2`` corners (x, y) as fractions of the image; NaN if empty."""
    h, w = mask.shape
    rows = np.flatnonzero(mask.any(1))
    if not len(rows):
        return np.full((_CORNERS, 2), np.nan)
    first, last = mask[rows].argmax(1), w - 1 - mask[rows, ::-1].argmax(1)
    points = np.stack([np.concatenate([first, last]), np.concatenate([rows, rows])], -1) + 0.5
    angles = np.arange(_CORNERS) * (2 * np.pi / _CORNERS)
    outermost = (points @ np.stack([np.cos(angles), np.sin(angles)])).argmax(0)
    return np.asarray(points[outermost] / (w, h))


def in_camera(outlines: Floats, intrinsics: Floats) -> Floats:
    """Convert outlines ``n p 2`` to directions in their cameras, ``n p 3`` with z = 1; ``intrinsics`` are ``n 4``."""
    plane = (outlines - intrinsics[:, None, 2:]) / intrinsics[:, None, :2]
    return np.concatenate([plane, np.ones_like(plane[..., :1])], -1)


def tangency_errors(directions: Floats, poses: Floats, focal: Floats) -> Floats:
    """Measure how far view i's outline is from the two planes that touch view j's: pixels ``n n 2``, NaN without any.

    None exist from a view to itself, for empty views, and where a camera would stand inside the other's outline.

    Args:
        directions: outlines in their cameras, ``n p 3``.
        poses: camera to world, ``n 4 4``.
        focal: in pixels, ``n``.
    """
    rotation, origin = poses[:, :3, :3], poses[:, :3, 3]
    world = np.einsum("nij,npj->npi", rotation, directions)
    baseline = origin[None] - origin[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        axis = baseline / np.linalg.norm(baseline, axis=-1, keepdims=True)
        middle = np.broadcast_to(world.mean(1), axis.shape)
        u = middle - (middle * axis).sum(-1, keepdims=True) * axis
        u /= np.linalg.norm(u, axis=-1, keepdims=True)
        v = np.cross(axis, u)
        angle = np.arctan2(np.einsum("jpc,ijc->ijp", world, v), np.einsum("jpc,ijc->ijp", world, u))
        low, high = angle.min(-1), angle.max(-1)
        errors = np.zeros((*low.shape, 2))
        for side, (touching, sign) in enumerate(((low, 1.0), (high, -1.0))):
            normal = sign * (np.cos(touching)[..., None] * v - np.sin(touching)[..., None] * u)
            normal = np.einsum("iab,ija->ijb", rotation, normal)
            across = np.einsum("ipc,ijc->ijp", directions, normal)
            distance = across.min(-1) / np.linalg.norm(normal[..., :2], axis=-1) * focal[:, None]
            errors[..., side] = np.abs(distance)
    wraps = high - low > 0.97 * np.pi
    return np.where((wraps | wraps.T)[..., None], np.nan, errors)
