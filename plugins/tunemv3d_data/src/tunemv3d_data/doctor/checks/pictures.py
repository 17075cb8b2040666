"""Pictures that cannot be learned from."""

import hashlib
from collections.abc import Iterator

import numpy as np

from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.views import ObjectViews

_DARK, _BRIGHT = 8, 250
"""Values, of 255, beyond which pixels are taken as black and as blown out."""


def sizes(views: ObjectViews) -> Iterator[Finding]:
    """All pictures have the size that the record states."""
    other = tuple(i for i, picture in enumerate(views.pictures) if picture.size != views.record.size)
    if other:
        (h, w), (own_h, own_w) = views.record.size, views.pictures[other[0]].size
        text = f"{len(other)} pictures are not {w} x {h} pixels; view {other[0]} is {own_w} x {own_h}"
        yield Finding("picture-size", views.record.id, text, "resize them, and their cameras with them", other)


def empty_views(views: ObjectViews) -> Iterator[Finding]:
    """Every view shows the object."""
    empty = tuple(np.flatnonzero(views.is_empty).tolist())
    if empty and not views.is_opaque:
        advice = "remove these views, or check their cameras and the renderer"
        yield Finding("empty-view", views.record.id, f"{len(empty)} views show nothing", advice, empty)


def same_pictures(views: ObjectViews) -> Iterator[Finding]:
    """Different cameras take different pictures."""
    seen: dict[bytes, int] = {}
    same: list[int] = []
    for index, picture in enumerate(views.pictures):
        if views.is_empty[index]:
            continue
        first = seen.setdefault(hashlib.sha256(picture.rgba.tobytes()).digest(), index)
        if first != index and np.abs(views.poses[first] - views.poses[index]).max() > 1e-3:
            same += [first, index]
    if same:
        text = f"views {same[0]} and {same[1]} are the same picture but have different cameras"
        yield Finding("same-picture", views.record.id, text, "restore the picture that was copied over", tuple(same))


def clipped(views: ObjectViews) -> Iterator[Finding]:
    """The frame cuts no object: what lies outside cannot be matched between views."""
    if views.is_opaque or views.is_inverted or not views.is_clipped.any():
        return
    cut = tuple(np.flatnonzero(views.is_clipped).tolist())
    text = f"the frame cuts the object in {len(cut)} of {len(views)} views"
    yield Finding("clipped", views.record.id, text, "move the cameras away, or widen their field of view", cut)


def brightness(views: ObjectViews) -> Iterator[Finding]:
    """Pictures are neither black nor blown out."""
    if views.is_inverted:
        return
    dark, bright = [], []
    for index, (picture, mask) in enumerate(zip(views.pictures, views.masks, strict=True)):
        colours = picture.rgba[mask][:, :3]
        if len(colours):
            dark += [index] * bool((colours.max(1) < _DARK).mean() > 0.95)
            bright += [index] * bool((colours.min(1) > _BRIGHT).mean() > 0.95)
    advice = "render with other light or exposure; if the object has this colour, its form cannot be seen"
    if dark:
        text = f"the object is nearly black in {len(dark)} of {len(views)} views"
        yield Finding("near-black", views.record.id, text, advice, tuple(dark))
    if bright and not views.is_opaque:
        text = f"the object is blown out to white in {len(bright)} of {len(views)} views"
        yield Finding("blown-out", views.record.id, text, advice, tuple(bright))
