"""Checks of datasets: the five that every run begins with (``dataset_checks``); and reading repeats, in threads too."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core import dataset_checks
from tunemv3d_core.dataset_checks import Extent
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.slots import KNOWN_MAPS, Dataset, HasMaps, Streams
from tunemv3d_core.testing.check import Check, ConformanceError, NotApplicableError
from tunemv3d_core.testing.component import ComponentUnderTest
from tunemv3d_core.testing.silhouettes import hull_share
from tunemv3d_core.types import Views

EXTENT = Extent(objects=8, views=16)

VIEWS, AGREE = 8, 0.9
"""Views of an object whose silhouettes are compared, and the share that must agree; of the packaged chairs 1 does."""

THREADS, ROUNDS = 8, 2
"""Threads that read at once, and how often each reads every object that is looked at."""


def check_opens(component: ComponentUnderTest) -> None:
    """It is built from its options, by ``build(spec)``, and has the methods of a dataset."""
    dataset = component.dataset
    methods = ("__len__", "splits", "record", "views")
    missing = [name for name in methods if not callable(getattr(dataset, name, None))]
    if missing:
        raise ConformanceError(f"{type(dataset).__name__} has no method {', '.join(missing)}: see slots.Dataset")


def check_splits(component: ComponentUnderTest) -> None:
    """Its length is true, and its splits are named and disjoint."""
    _ask(dataset_checks.check_splits, component)


def check_records(component: ComponentUnderTest) -> None:
    """Its records have captions, a picture size that all share, and one camera a view, in the documented types."""
    _ask(dataset_checks.check_records, component)


def check_cameras(component: ComponentUnderTest) -> None:
    """Its cameras are rigid, outside the object's sphere, and look at it; its intrinsics are fractions."""
    _ask(dataset_checks.check_cameras, component)


def check_pictures(component: ComponentUnderTest) -> None:
    """Its pictures are those of the record, from -1 to 1 on white, with alpha from 0 to 1."""
    _ask(dataset_checks.check_pictures, component)


def check_sight(component: ComponentUnderTest) -> None:
    """What its pictures show lies where their cameras have the object's sphere."""
    _ask(dataset_checks.check_sight, component)


def check_silhouettes(component: ComponentUnderTest) -> None:
    """What one picture shows is where the others show something, too, by their cameras."""
    dataset = component.dataset
    for index in dataset_checks.objects_of(dataset, EXTENT):
        record = dataset.record(index)
        count = min(VIEWS, record.views)
        chosen = [place * record.views // count for place in range(count)]
        share = hull_share(dataset.views(index, chosen).alpha[0], record.cameras[chosen])
        if share < AGREE:
            raise ConformanceError(
                f"object '{record.id}': {1 - share:.0%} of what each picture shows is nowhere in the others, by their "
                "cameras; give each camera its own picture, not upside down and not mirrored (see tunemv3d data check)"
            )


def check_repeatable(component: ComponentUnderTest) -> None:
    """It gives the same again, when it is opened anew too, and views in the order that was asked for."""
    before = torch.get_rng_state()
    dataset, again = component.opened(), component.opened()
    if len(dataset) != len(again) or dataset.splits() != again.splits():
        raise ConformanceError("opened twice, its length or its splits differ: make them from the options alone")
    for index in dataset_checks.objects_of(dataset, EXTENT):
        record = dataset.record(index)
        views = list(range(min(record.views, EXTENT.views)))
        seen = _copied(dataset.views(index, views))
        for when, other in (("asked again", dataset), ("opened anew", again)):
            if not _same(other.record(index), record):
                raise ConformanceError(f"object '{record.id}': {when}, its record differs")
            if not _same(other.views(index, views), seen):
                raise ConformanceError(f"object '{record.id}': {when}, its pictures differ: draw nothing at random")
        _check_order(dataset, index, views[::-1], seen)
    if not torch.equal(before, torch.get_rng_state()):
        raise ConformanceError("it seeds torch's random numbers, or draws them: take a torch.Generator of its own")


def _check_order(dataset: Dataset, index: int, turned: list[int], seen: Views) -> None:
    """Ask for views that were seen in the opposite order, and keep the answer while others are read."""
    where, asked = f"object '{dataset.record(index).id}'", list(turned)
    found = dataset.views(index, asked)
    if asked != turned:
        raise ConformanceError(f"{where}: views() changes the list of cameras that it is given; change a copy")
    if not torch.equal(found.images, seen.images.flip(1)) or not torch.equal(found.alpha, seen.alpha.flip(1)):
        raise ConformanceError(f"{where}: its pictures are not in the order that is asked for")
    dataset.views(index, turned[::-1])
    if not torch.equal(found.images, seen.images.flip(1)) or not torch.equal(found.alpha, seen.alpha.flip(1)):
        raise ConformanceError(f"{where}: its pictures change when others are read; give new tensors each time")


def check_from_threads(component: ComponentUnderTest) -> None:
    """It gives the same to several threads at once."""
    alone, shared = component.dataset, component.opened()
    objects = dataset_checks.objects_of(alone, EXTENT)
    views = {index: list(range(min(alone.record(index).views, 2))) for index in objects}
    wanted = {index: (alone.record(index), alone.views(index, views[index])) for index in objects}

    def read(place: int) -> str:
        index = objects[place % len(objects)]
        try:
            found = shared.record(index), shared.views(index, views[index])
        except Exception as error:  # a reader may fail in any way
            return f"raises {type(error).__name__}: {error}"
        return "" if _same(found, wanted[index]) else f"gives another object than '{wanted[index][0].id}'"

    with _switching_often(), ThreadPoolExecutor(THREADS) as pool:
        places = range(THREADS * ROUNDS * len(objects))
        faults = [fault for fault in pool.map(read, places) if fault]
    if faults:
        said = f"{len(faults)} of {len(places)} readings differ from one thread's: it {faults[0]}"
        raise ConformanceError(f"with {THREADS} threads at once, {said}; keep no state between calls, or lock it")


def check_streams(component: ComponentUnderTest) -> None:
    """A streamed dataset lists what its records say, and every epoch of all processes shows each training object."""
    dataset = component.dataset
    if not isinstance(dataset, Streams):
        raise NotApplicableError("it is no streamed dataset")
    infos = dataset.object_infos()
    for index in dataset_checks.objects_of(dataset, EXTENT):
        record, info = dataset.record(index), infos[index]
        for name in ("id", "views", "licence", "creator"):
            mine, theirs = getattr(info, name), getattr(record, name)
            if mine != theirs:
                raise ConformanceError(
                    f"object_infos() has the {name} {mine!r} for object {index}, its record {theirs!r}"
                )
        if dataset.picture_size() != record.size:
            raise ConformanceError(f"picture_size() is {dataset.picture_size()}, that of '{record.id}' {record.size}")
    train = set(dataset.splits()["train"])
    for world in range(1, min(2, len(train)) + 1):
        epochs = [[list(dataset.order(1, epoch, rank, world)) for rank in range(world)] for epoch in range(3)]
        shown = [set().union(*ranks) for ranks in epochs]
        if any(each != train for each in shown):
            raise ConformanceError(
                f"order() of {world} processes shows other objects than those of 'train', each epoch"
            )
        if any(list(map(len, ranks)) != list(map(len, epochs[0])) for ranks in epochs):
            raise ConformanceError(f"order() of {world} processes is not equally long in every epoch")
        if epochs[1] != [list(dataset.order(1, 1, rank, world)) for rank in range(world)]:
            raise ConformanceError("order() differs when it is asked again: make it of its arguments alone")


def check_maps(component: ComponentUnderTest) -> None:
    """Its maps have the channels that it says, the size of the pictures, and are finite float32."""
    dataset = component.dataset
    if not isinstance(dataset, HasMaps) or not dataset.map_channels:
        raise NotApplicableError("it has no maps beside its pictures")
    for index in dataset_checks.objects_of(dataset, EXTENT):
        record, names = dataset.record(index), tuple(dataset.map_channels)
        cameras = [record.views - 1, 0]
        given = dataset.maps(index, cameras, names)
        for name, channels in dataset.map_channels.items():
            values, shape = given.get(name), (2, channels, *record.size)
            if not isinstance(values, Tensor) or values.shape != shape or values.dtype != torch.float32:
                got = f"{tuple(values.shape)}, {values.dtype}" if isinstance(values, Tensor) else "missing"
                raise ConformanceError(f"the map '{name}' of '{record.id}' is {got}; give {shape}, torch.float32")
            if not bool(values.isfinite().all()):
                raise ConformanceError(f"the map '{name}' of '{record.id}' holds numbers that are not finite")
            if KNOWN_MAPS.get(name, channels) != channels:
                raise ConformanceError(f"the map '{name}' has {channels} channels; by this name {KNOWN_MAPS[name]}")


def _ask(check: dataset_checks.Check, component: ComponentUnderTest) -> None:
    try:
        check(component.dataset, EXTENT)
    except TuneMV3DError as error:
        arose = error.__cause__ or error  # in the reader, where it raised something itself
        raise ConformanceError(str(error)).with_traceback(arose.__traceback__) from error


def _copied(views: Views) -> Views:
    return replace(views, images=views.images.clone(), alpha=views.alpha.clone())


def _same(one: Any, other: Any) -> bool:
    """Compare records, views and what they hold, number by number."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if hasattr(one, "__dataclass_fields__"):
        return all(_same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return bool(one == other)


@contextmanager
def _switching_often() -> Iterator[None]:
    """Let threads take turns a thousand times as often as usual, so that those who disturb each other do so soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 1000)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


_GATES = {
    check_opens: ("discoverable",),
    check_splits: ("opens",),
    check_records: ("splits",),
    check_cameras: ("records",),
    check_pictures: ("records",),
    check_sight: ("cameras", "pictures"),
    check_silhouettes: ("sight",),
    check_repeatable: ("pictures",),
    check_from_threads: ("repeatable",),
    check_streams: ("records",),
    check_maps: ("records",),
}

CHECKS = tuple(Check(ask, gates) for ask, gates in _GATES.items())
