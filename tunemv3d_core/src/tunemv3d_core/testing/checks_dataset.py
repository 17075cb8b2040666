"""Checks of datasets: the five that every run begins with (``dataset_checks``); and reading repeats, in threads too."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core import dataset_checks
from tunemv3d_core.dataset_checks import Extent
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugins.registry import load_value
from tunemv3d_core.slots import Dataset
from tunemv3d_core.testing.check import Check, ConformanceError
from tunemv3d_core.testing.component import ComponentUnderTest

EXTENT = Extent(objects=8, views=16)

THREADS, ROUNDS = 8, 4
"""Threads that read at once, and how often each reads every object that is looked at."""


def check_opens(component: ComponentUnderTest) -> None:
    """It is built from its options, by ``build(spec)``, and has the methods of a dataset."""
    dataset = _opened(component)
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


def check_repeatable(component: ComponentUnderTest) -> None:
    """It gives the same again, when it is opened anew too, and views in the order that was asked for."""
    dataset, again = _opened(component), _opened(component)
    if len(dataset) != len(again) or dataset.splits() != again.splits():
        raise ConformanceError("opened twice, its length or its splits differ: make them from the options alone")
    for index in dataset_checks.objects_of(dataset, EXTENT):
        record = dataset.record(index)
        views = list(range(min(record.views, EXTENT.views)))
        seen = dataset.views(index, views)
        for when, other in (("asked again", dataset), ("opened anew", again)):
            if not _same(other.record(index), record):
                raise ConformanceError(f"object '{record.id}': {when}, its record differs")
            if not _same(other.views(index, views), seen):
                raise ConformanceError(f"object '{record.id}': {when}, its pictures differ: draw nothing at random")
        turned = dataset.views(index, views[::-1])
        if not torch.equal(turned.images, seen.images.flip(1)) or not torch.equal(turned.alpha, seen.alpha.flip(1)):
            raise ConformanceError(f"object '{record.id}': its pictures are not in the order that is asked for")


def check_from_threads(component: ComponentUnderTest) -> None:
    """It gives the same to several threads at once."""
    alone, shared = _opened(component), _opened(component)
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


def _opened(component: ComponentUnderTest) -> Dataset:
    dataset: Dataset = load_value(component.plugin.build)(component.spec)
    return dataset


def _ask(check: dataset_checks.Check, component: ComponentUnderTest) -> None:
    try:
        check(_opened(component), EXTENT)
    except TuneMV3DError as error:
        raise ConformanceError(str(error)) from error


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
    check_repeatable: ("pictures",),
    check_from_threads: ("repeatable",),
}

CHECKS = tuple(Check(ask, gates) for ask, gates in _GATES.items())
