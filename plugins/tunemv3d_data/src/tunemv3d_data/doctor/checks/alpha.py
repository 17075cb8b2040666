"""Alpha: where the object ends, and what colour its edge has."""

from collections.abc import Iterator

import numpy as np

from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.silhouettes import Floats
from tunemv3d_data.doctor.views import ObjectViews, Picture

_ENOUGH = 60
"""Edge pixels from which their colours say something."""


def missing_or_inverted(views: ObjectViews) -> Iterator[Finding]:
    """Alpha cuts the object out of its ground."""
    id_ = views.record.id
    if views.is_opaque:
        ground = "white" if _white_frames(views) else "one" if _even_frames(views) else "their own"
        text = f"the pictures are opaque and stand on {ground} ground: alpha is missing"
        advice = (
            "cut the object out, or render it with a transparent film (tunemv3d data render --background transparent)"
        )
        yield Finding("alpha-missing", id_, text, advice, tuple(range(len(views))))
    elif views.is_inverted:
        text, advice = "alpha is inverted: the ground is solid and the object is see-through", "store 255 - alpha"
        yield Finding("alpha-inverted", id_, text, advice, tuple(range(len(views))))


def edge_colours(views: ObjectViews) -> Iterator[Finding]:
    """At the edge the object keeps its colour: alpha is straight, and no ground is mixed into it."""
    if views.is_opaque or views.is_inverted:
        return
    pairs = [_edges(picture) for picture in views.pictures]
    alpha = np.concatenate([pair[0] for pair in pairs])
    edge, inside = (np.concatenate([pair[i] for pair in pairs]) for i in (1, 2))
    if len(alpha) < _ENOUGH:
        return
    misfit = {name: float(np.abs(edge - colour).mean()) for name, colour in _models(alpha, inside).items()}
    best = min(misfit, key=lambda name: misfit[name])
    if best == "straight" or misfit[best] > 0.6 * misfit["straight"]:
        return
    every, numbers = tuple(range(len(views))), {f"misfit_{name}": round(value, 2) for name, value in misfit.items()}
    if best == "premultiplied" and float((edge > alpha[:, None] * 255 + 3).mean()) < 0.02:
        text = "colours are premultiplied with alpha: the object's edge is dark"
        advice = "divide the colours by alpha / 255 where alpha is not 0"
        yield Finding("alpha-premultiplied", views.record.id, text, advice, every, numbers)
    elif best == "white":
        text = "white ground is mixed into the object's edge"
        advice = "subtract (255 - alpha) from the colours and divide by alpha / 255, or render with a transparent film"
        yield Finding("alpha-white-fringe", views.record.id, text, advice, every, numbers)


def _models(alpha: Floats, inside: Floats) -> dict[str, Floats]:
    """Return the colour that the edge should have, were it stored so; ``e 3``."""
    a = alpha[:, None]
    return {"straight": inside, "premultiplied": inside * a, "white": inside * a + 255 * (1 - a)}


def _edges(picture: Picture) -> tuple[Floats, Floats, Floats]:
    """Alpha (0 to 1) and colours of see-through pixels, and of the solid pixel beside each: ``e``, ``e 3``, ``e 3``."""
    rgba = picture.rgba.astype(np.float64)
    alpha = rgba[..., 3]
    see_through = (alpha > 24) & (alpha < 200)
    see_through[[0, -1]] = False
    see_through[:, [0, -1]] = False
    y, x = np.nonzero(see_through)
    beside = np.zeros((len(y), 3))
    count = np.zeros(len(y))
    for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        solid = alpha[y + dy, x + dx] == 255
        beside += np.where(solid[:, None], rgba[y + dy, x + dx, :3], 0)
        count += solid
    some = count > 0
    return alpha[y, x][some] / 255, rgba[y, x, :3][some], beside[some] / count[some, None]


def _frame(picture: Picture) -> Floats:
    rgb = picture.rgba[..., :3].astype(np.float64)
    return np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])


def _white_frames(views: ObjectViews) -> bool:
    return bool(np.median([_frame(picture).mean() for picture in views.pictures]) > 250)


def _even_frames(views: ObjectViews) -> bool:
    return bool(np.median([_frame(picture).std(0).max() for picture in views.pictures]) < 6)
