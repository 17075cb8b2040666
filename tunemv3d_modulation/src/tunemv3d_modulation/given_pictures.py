"""Pictures that are given to a model, made like those that it has learned from: one object, cut out, centred, large."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.viz.pictures import as_rgba, on_white
from tunemv3d_modulation.cut_out import cut_out

SHARE, LOWER = 0.8, 0.035
"""How much of a view the object's longer side takes, and how far its middle lies below the view's: the median and the
mean of the datasets ``chairs`` and ``furniture``, seen from 20 degrees above."""

USUAL = (0.6, 0.9)
"""Shares that 90 % of those views have; a picture between them whose object is in the middle stays as it is."""

MIDDLE = 0.08
"""Distance from the usual place up to which an object is in the middle, in sides of the picture."""

LEAST = 16
"""Side of the smallest object that shows anything, pixels; and one in so many of the view's pixels."""

BLURRED = 1.5
"""Enlargement from which on a note says so."""

ANOTHER = 0.2
"""Share of the largest part's area from which on a second part is another thing."""


def cut_objects(given: Mapping[int, Image.Image], model: str = "") -> tuple[dict[int, Image.Image], list[str]]:
    """Cut the objects out of pictures, before a model is loaded.

    Args:
        given: by view.
        model: see ``cut_out``.

    Returns:
        RGBA pictures by view, and sentences on what was done and on what looks wrong.

    Raises:
        TuneMV3DError: a picture that cannot be used; names the view and says what to do.
    """
    made, notes = {}, []
    for view, picture in given.items():
        try:
            made[view], done = cut_out(as_rgba(picture), model)
            solid = np.asarray(made[view])[..., 3] >= 128
            _check(solid)
        except TuneMV3DError as error:
            raise TuneMV3DError(f"the picture of view {view}: {error}") from None
        notes += [f"the picture of view {view}: {note}" for note in (done, *_doubts(solid)) if note]
    return made, notes


def frame_objects(cut: Mapping[int, Image.Image], size: tuple[int, int]) -> tuple[dict[int, Image.Image], list[str]]:
    """Move and scale cut-out objects so that they lie in the views as objects of the training data do.

    Args:
        cut: RGBA, of ``cut_objects``.
        size: (H, W) of the views, pixels.

    Returns:
        Pictures on white by view, and sentences on what was done.

    Raises:
        TuneMV3DError: an object is too small to show anything; names the view.
    """
    made, notes = {}, []
    for view, picture in cut.items():
        try:
            made[view], done = _framed(picture, size)
        except TuneMV3DError as error:
            raise TuneMV3DError(f"the picture of view {view}: {error}") from None
        notes += [f"the picture of view {view}: {note}" for note in done]
    return made, notes


def _check(solid: NDArray[np.bool_]) -> None:
    """Refuse a mask ``H W`` in which no object can be seen."""
    if not solid.any():
        raise TuneMV3DError("it shows nothing: it is transparent all over")
    left, top, right, bottom = _box(solid)
    _check_size(right - left, bottom - top, LEAST)


def _check_size(width: int, height: int, least: int) -> None:
    if max(width, height) < least:
        raise TuneMV3DError(f"the object has {width} x {height} pixels, and {least} are needed: give a larger picture")


def _doubts(solid: NDArray[np.bool_]) -> list[str]:
    """Say what is odd about a mask ``H W``: it touches the border, or holds several things."""
    sides = {"left": solid[:, 0], "top": solid[0], "right": solid[:, -1], "bottom": solid[-1]}
    notes = []
    if touched := [side for side, line in sides.items() if line.any()]:
        notes.append(
            f"the object touches the edge ({', '.join(touched)}): if it is cut off there, the model takes it for whole"
        )
    parts, count = label(solid, np.ones((3, 3)))
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    if (things := int((areas >= ANOTHER * areas.max()).sum())) > 1:
        notes.append(f"it shows {things} things that do not touch, and one object is made of them")
    return notes


def _framed(picture: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, list[str]]:
    """Crop an RGBA picture, or widen it, to the view's aspect around its object."""
    left, top, right, bottom = _box(np.asarray(picture)[..., 3] >= 128)
    longer = max(right - left, bottom - top)
    _check_size(right - left, bottom - top, max(LEAST, min(size) // LEAST))
    share = longer / min(picture.size)
    across = (left + right) / 2 / picture.width - 0.5, (top + bottom) / 2 / picture.height - 0.5 - LOWER
    usual = USUAL[0] <= share <= USUAL[1] and max(map(abs, across)) <= MIDDLE
    shaped = picture.width * size[0] == picture.height * size[1]
    notes = []
    # The view's shorter side, in pixels of the picture.
    side = min(picture.size) if usual and shaped else longer / SHARE
    if (times := min(size) / side) > BLURRED:
        notes.append(f"the object is enlarged {times:.1f} times, and blurred: a larger picture shows more")
    if usual and shaped:
        return on_white(picture), notes
    height, width = (round(side * z / min(size)) for z in size)
    x, y = round((left + right - width) / 2), round((top + bottom - height) / 2 - LOWER * height)
    # Whatever lies beyond the picture is transparent.
    cropped = picture.crop((x, y, x + width, y + height))
    fills = f"it filled {share:.0%} of the picture and fills {SHARE:.0%} of the view, as in training"
    return on_white(cropped), [f"the object was moved to the middle and scaled: {fills}", *notes]


def _box(solid: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a mask ``H W``, the last two beyond it."""
    rows, columns = np.nonzero(solid.any(1))[0], np.nonzero(solid.any(0))[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
