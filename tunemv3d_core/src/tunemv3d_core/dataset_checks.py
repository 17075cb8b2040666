"""Five questions to a dataset, on whose answers training relies: the conformance kit asks them, and so does every run.

Each looks at some objects and some views of each, and refuses with one sentence: what is wrong, in which object, what
to do. ``tunemv3d data check`` looks at everything, and at more. Axes: n views, H W picture size.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere, opengl_to_opencv
from tunemv3d_core.errors import CameraError, DatasetError, TuneMV3DError
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.slots import Dataset, Streams
from tunemv3d_core.types import Views

ROUNDING = 1e-3
"""By how much values may leave their range."""

OFF_WHITE, GROUND = 0.1, 0.01
"""How much lossy pictures and resizing change a white ground, and the share of a picture that may differ more."""

OUTSIDE = 0.05
"""Share of an object's pixels in one view that may lie outside the unit sphere: parts that masks missed."""


@dataclass(frozen=True)
class Extent:
    """How much is looked at: so many objects, and views of each, evenly from the first to the last."""

    objects: int = 8
    views: int = 4


def check_dataset(dataset: Dataset, extent: Extent | None = None) -> None:
    """Ask all five questions.

    Args:
        dataset: any reader's.
        extent: how much is looked at; of a streamed dataset by default two objects, which may be fetched from afar.

    Raises:
        DatasetError: names the object, and says what is wrong and what to do; or what the dataset itself raises.
    """
    chosen = extent or (Extent(objects=2) if isinstance(dataset, Streams) else Extent())
    for check in CHECKS:
        check(dataset, chosen)


def check_splits(dataset: Dataset, extent: Extent) -> None:
    """It has as many objects as its length says, and no split names another, or one that a second split has."""
    count = ask_reader(dataset, "__len__")
    if type(count) is not int or count < 1:
        raise DatasetError(f"len() is {count!r}; give the number of objects, at least one")
    splits = ask_reader(dataset, "splits")
    if not isinstance(splits, dict) or not {"train", "held_out"} <= splits.keys():
        got = f"the splits {', '.join(map(repr, splits))}" if isinstance(splits, dict) else type(splits).__name__
        raise DatasetError(f"splits() gives {got}; give lists of indices by 'train' and 'held_out', which may be empty")
    owners: dict[int, str] = {}
    for split, objects in splits.items():
        if not isinstance(objects, list) or not all(type(index) is int for index in objects):
            raise DatasetError(f"splits() gives other than a list of whole numbers for '{split}'; make a list of them")
        for index in objects:
            if not 0 <= index < count:
                told = f"the split '{split}' names object {index}, but len() is {count}"
                raise DatasetError(f"{told}; give the true length, and indices from 0")
            if index in owners:
                both = f"twice in '{split}'" if owners[index] == split else f"in both '{owners[index]}' and '{split}'"
                raise DatasetError(f"{_name(dataset, index)} is {both}; leave it in one split, once")
            owners[index] = split
    if not owners:
        raise DatasetError("no split names an object; put those to learn from into 'train'")
    _check_length(dataset, count)


def _check_length(dataset: Dataset, count: int) -> None:
    """Read the record of every object, of a streamed dataset the list of them: each is there, under its own id."""
    ids: dict[str, int] = {}
    if isinstance(dataset, Streams):
        listed = len(ask_reader(dataset, "object_infos"))
        if listed != count:
            raise DatasetError(f"len() is {count}, but object_infos() has {listed} objects; give its true length")
        return
    for index in range(count):
        id_ = _record(dataset, index).id
        if not isinstance(id_, str) or not id_.strip():
            raise DatasetError(f"object {index} has the id {id_!r}; give a name that no other object has")
        if id_ in ids:
            twice = f"objects {ids[id_]} and {index} of {count} have one id, '{id_}'"
            raise DatasetError(f"{twice}; give each its own, and len() the number of different objects")
        ids[id_] = index


def check_records(dataset: Dataset, extent: Extent) -> None:
    """A record has captions, a picture size that all share, and one camera a view, in the documented types."""
    first: tuple[int, int] | None = None
    for index in objects_of(dataset, extent):
        record = _record(dataset, index)
        where = f"object '{record.id}'"
        if isinstance(record.captions, str):
            letters = f"its captions are one string, '{record.captions[:40]}', whose letters would be captions"
            raise DatasetError(f"{where}: {letters}; give a tuple, ({record.captions[:40]!r},)")
        if not isinstance(record.captions, tuple) or not record.captions:
            raise DatasetError(f"{where}: its captions are {record.captions!r}; give a tuple of at least one text")
        if not all(isinstance(caption, str) for caption in record.captions):
            raise DatasetError(f"{where}: one of its captions is no text: {record.captions!r}; give texts")
        size, cameras = record.size, record.cameras
        if not isinstance(cameras, Cameras):
            raise DatasetError(f"{where}: its cameras are {type(cameras).__name__}; give Cameras")
        if not _is_size(size):
            raise DatasetError(f"{where}: its size is {size!r}; give (height, width) in pixels, whole numbers")
        first = first or size
        if size != first:
            raise DatasetError(f"{where}: its pictures have {size} (h, w), others {first}; give all pictures one size")
        if len(cameras.shape) != 1 or not cameras.shape[0]:
            raise DatasetError(f"{where}: its cameras have the shape {tuple(cameras.shape)}; give (n,), one per view")
        kinds = {cameras.camera_to_world.dtype, cameras.intrinsics.dtype}
        if kinds != {torch.float32}:
            told = ", ".join(sorted(map(str, kinds)))
            raise DatasetError(f"{where}: its cameras are {told}; give float32: cameras.to(torch.float32)")


def _is_size(size: Any) -> bool:
    return isinstance(size, tuple) and len(size) == 2 and all(type(side) is int and side > 0 for side in size)


def check_cameras(dataset: Dataset, extent: Extent) -> None:
    """Cameras are rigid, stand outside the unit sphere and have it in their picture; intrinsics are fractions."""
    for index in objects_of(dataset, extent):
        record = _record(dataset, index)
        cameras = record.cameras
        try:
            cameras.check()
        except CameraError as error:
            is_inside = "inside the object" in str(error)  # which says what to do
            wanted = "" if is_inside else "; give rigid camera-to-world matrices, and intrinsics as fractions"
            raise DatasetError(f"object '{record.id}': {error}{wanted}") from None
        blind = (~_in_view(cameras)).nonzero()
        if len(blind):
            away = f"object '{record.id}': the unit sphere is not in the picture of camera {int(blind[0])}"
            raise DatasetError(f"{away}; {_likely_mistake(record)}")


def _in_view(cameras: Cameras) -> Tensor:
    """Tell whether the unit sphere lies before cameras ``(n,)`` and in their pictures: ``n`` booleans."""
    cameras = cameras.to(torch.float64)
    centre, depth = cameras.project(torch.zeros(1, 3, dtype=torch.float64))
    nearest = centre.clamp(0, 1)  # of the picture's points
    _, _, hit = intersect_sphere(cameras.rays((1, 1), nearest))
    return hit[:, 0] & (depth[:, 0] > 0)


def _likely_mistake(record: PosedImages) -> str:
    """Say what makes a record's cameras see the sphere, where a usual mistake explains that they do not."""
    matrices, intrinsics = record.cameras.camera_to_world, record.cameras.intrinsics
    inverse = torch.linalg.inv(matrices)
    h, w = record.size
    readings = {
        "they are OpenGL cameras: turn them by cameras.opengl_to_opencv": (opengl_to_opencv(matrices), intrinsics),
        "they are world-to-camera matrices: invert them": (inverse, intrinsics),
        "they are OpenGL world-to-camera matrices: invert them, then turn them by cameras.opengl_to_opencv": (
            (opengl_to_opencv(inverse), intrinsics)
        ),
        "its intrinsics are in pixels: divide fx and cx by the width, fy and cy by the height": (
            (matrices, intrinsics / intrinsics.new_tensor([w, h, w, h]))
        ),
    }
    for advice, (poses, lenses) in readings.items():
        if bool(_in_view(Cameras(poses, lenses)).all()):
            return advice
    return "give camera-to-world matrices with OpenCV axes (x right, y down, z forward), the object around the origin"


def check_pictures(dataset: Dataset, extent: Extent) -> None:
    """Pictures are those of the record, from -1 to 1 on white, with alpha from 0 to 1."""
    is_scaled, darkest = False, math.inf
    for index in objects_of(dataset, extent):
        record, chosen, views = _seen(dataset, index, extent)
        where = f"object '{record.id}'"
        _check_form(where, record, chosen, views)
        for name, values, low in (("images", views.images, -1), ("alpha", views.alpha, 0)):
            least, most = float(values.min()), float(values.max())
            if not (low - ROUNDING <= least and most <= 1 + ROUNDING):  # NaN is in no range
                raise DatasetError(
                    f"{where}: the values of {name} go from {least:g} to {most:g}; give {name} from {low} to 1"
                )
        _check_ground(where, chosen, views)
        solid = views.images.movedim(2, -1)[views.alpha > 0.99]
        darkest = min(darkest, float(solid.min()) if len(solid) else math.inf)
        is_scaled = is_scaled or _is_scaled(solid)
    if 0 <= darkest < math.inf and not is_scaled:
        said = f"no pixel of some objects is darker than {darkest:.2g}, as if pictures went from 0 to 1"
        raise DatasetError(f"{said}; give 2 * x - 1, so that black is -1 and white 1")


def _check_form(where: str, record: PosedImages, chosen: list[int], views: Views) -> None:
    """Refuse views of other shapes, types, cameras, captions or ids than the record's."""
    n, (h, w) = len(chosen), record.size
    for name, values, shape in (("images", views.images, (1, n, 3, h, w)), ("alpha", views.alpha, (1, n, h, w))):
        if not isinstance(values, Tensor) or values.shape != shape or values.dtype != torch.float32:
            got = f"{tuple(values.shape)}, {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
            asked = f"{shape}, torch.float32, for {n} views of the record's size (h, w)"
            raise DatasetError(f"{where}: the {name} of views() are {got}; give {asked}")
    asked_for = record.cameras[chosen][None]
    for name in ("camera_to_world", "intrinsics"):
        mine, theirs = getattr(views.cameras, name), getattr(asked_for, name)
        if mine.shape != theirs.shape or not torch.equal(mine, theirs):
            raise DatasetError(f"{where}: views() and record() differ in {name}; give record.cameras[cameras][None]")
    for name, told, wanted in (
        ("captions", views.captions, [record.captions[0]]),
        ("ids", views.ids, [record.id]),
    ):
        if told != wanted:
            raise DatasetError(f"{where}: views() gives the {name} {told!r}, but its record has {wanted!r}; give those")


def _check_ground(where: str, chosen: list[int], views: Views) -> None:
    """Refuse pictures with another ground than white: with it, no pixel is darker than black seen through its alpha."""
    missing = 1 - 2 * views.alpha[0] - views.images[0].amin(1)  # n H W
    share = (missing > OFF_WHITE).float().mean((1, 2))
    if bool((share > GROUND).any()):
        view = int(share.argmax())
        dark = f"view {chosen[view]} is darker than white ground allows in {float(share[view]):.0%} of its pixels"
        advice = "composite the pictures on white, and give an alpha that is 0 where nothing is"
        raise DatasetError(f"{where}: {dark}; {advice}")


def _is_scaled(solid: Tensor) -> bool:
    """Tell whether values are bytes scaled to [-1, 1]: a bright object's. Of bytes scaled to [0, 1], half are not."""
    levels = (solid + 1) * 127.5
    return bool(len(solid)) and bool(((levels - levels.round()).abs() < 1e-2).all())


def check_sight(dataset: Dataset, extent: Extent) -> None:
    """Each camera sees the object: a picture's foreground lies where its camera has the unit sphere."""
    for index in objects_of(dataset, extent):
        record, chosen, views = _seen(dataset, index, extent)
        size = (int(views.alpha.shape[-2]), int(views.alpha.shape[-1]))
        covered = views.alpha[0].flatten(1) > 0.5  # n (H W)
        if not bool(covered.any()):
            said = f"alpha shows nothing in any of the views {', '.join(map(str, chosen))}"
            raise DatasetError(f"object '{record.id}': {said}; give 1 where the object is")
        if bool((views.alpha > 0.99).all()):
            raise DatasetError(
                f"object '{record.id}': alpha is 1 everywhere; cut the object out, so that it is 0 around"
            )
        for view, mask in zip(chosen, covered, strict=True):
            _, _, hit = intersect_sphere(record.cameras[view].to(torch.float64).rays(size))
            outside = float((mask & ~hit).sum() / mask.sum().clamp(min=1))
            if outside > OUTSIDE:
                said = f"{outside:.0%} of what view {view} shows lies outside the unit sphere that its camera sees"
                advice = "give alpha that is 0 around the object, each picture its own camera, and an object within 0.9"
                raise DatasetError(f"object '{record.id}': {said}; {advice} of the origin")


Check = Callable[[Dataset, Extent], None]

CHECKS: tuple[Check, ...] = (check_splits, check_records, check_cameras, check_pictures, check_sight)
"""In this order; each relies on those before it."""


def ask_reader(dataset: Dataset, method: str, *arguments: object) -> Any:
    """Call a method of the reader. What is no message for people becomes one.

    Raises:
        DatasetError: it raised something that is none of ours.
    """
    try:
        return getattr(dataset, method)(*arguments)
    except TuneMV3DError:
        raise
    except Exception as error:  # a reader may fail in any way
        call = f"{method}({', '.join(map(str, arguments))})"
        raise DatasetError(f"{call} raised {type(error).__name__}: {error}; mend the dataset's reader") from error


def _record(dataset: Dataset, index: int) -> PosedImages:
    record = ask_reader(dataset, "record", index)
    if not isinstance(record, PosedImages):
        raise DatasetError(f"record({index}) gives {type(record).__name__}; give a PosedImages")
    return record


def _seen(dataset: Dataset, index: int, extent: Extent) -> tuple[PosedImages, list[int], Views]:
    """Read some views of an object, the last one first: its record, which views, and the pictures."""
    record = _record(dataset, index)
    chosen = _evenly(range(record.views), extent.views)[::-1]
    views = ask_reader(dataset, "views", index, list(chosen))
    if not isinstance(views, Views):
        raise DatasetError(f"object '{record.id}': views() gives {type(views).__name__}; give a Views")
    return record, chosen, views


def objects_of(dataset: Dataset, extent: Extent) -> list[int]:
    """Choose some objects of all splits."""
    splits = dataset.splits()
    return _evenly([index for objects in splits.values() for index in objects], extent.objects)


def _evenly(items: Sequence[int], most: int) -> list[int]:
    """Choose so many at most, the first and the last among them."""
    count = min(most, len(items))
    return [items[place * (len(items) - 1) // max(count - 1, 1)] for place in range(count)]


def _name(dataset: Dataset, index: int) -> str:
    try:
        return f"object '{dataset.record(index).id}'"
    except Exception:  # its number will do
        return f"object {index}"
