"""Draws depend on seed, step and process alone, and use an object's views as the spec says."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import tunemv3d_train.batch_sampler as module
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.errors import SpecError
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_train.batch_sampler import BatchSampler


def rendered(views: int) -> Cameras:
    """Up to eight cameras on an even ring, the others higher, on one side."""
    ring = Cameras.orbit(min(views, 8), azimuth=10)
    others = Cameras.orbit(36, elevation=50)[: views - 8]
    return Cameras.cat([ring, others]) if views > 8 else ring


def sampler(
    objects: int = 5, cameras: Cameras | None = None, counts: ViewsSpec | None = None, **changed: Any
) -> BatchSampler:
    cameras = rendered(24) if cameras is None else cameras
    records = [PosedImages(f"o{i}", cameras, (8, 8), (f"a {i}", f"b {i}")) for i in range(objects)]
    options = {"seed": 7, "batch": 2, "timesteps": 1000, "cells": 64, "text_dropout": 0.1} | changed
    dataset: Any = SimpleNamespace(record=records.__getitem__)
    return BatchSampler(dataset, list(range(objects)), counts or ViewsSpec(novel_pixels=0.25), **options)


def same(a: Any, b: Any) -> bool:
    tensors = all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("t", "is_clean", "novel_pixels"))
    return tensors and (a.objects, a.views, a.captions, a.seed) == (b.objects, b.views, b.captions, b.seed)


def test_a_draw_depends_on_its_step_and_not_on_those_before() -> None:
    first = sampler()
    for step in range(5):
        first.plan(step)
    assert same(first.plan(5), sampler().plan(5))
    assert not same(first.plan(5), first.plan(6))
    assert not same(sampler(rank=0, world=2).plan(5), sampler(rank=1, world=2).plan(5))


def test_two_processes_draw_what_one_draws_in_twice_as_many_batches() -> None:
    ranks, alone = [sampler(rank=rank, world=2) for rank in range(2)], sampler()
    for step in range(4):
        for rank, draws in enumerate(ranks):
            assert same(draws.plan(step), alone.plan(2 * step + rank))


def test_another_number_of_processes_goes_on_after_the_batches_that_were_drawn() -> None:
    pair, alone = [sampler(rank=rank, world=2) for rank in range(2)], sampler()
    assert pair[0].drawn(3) == 6
    alone.go_on(3, 6)
    assert same(alone.plan(3), sampler().plan(6)) and alone.drawn(5) == 8
    for rank, draws in enumerate(pair):
        draws.go_on(5, 8)
        assert same(draws.plan(6), sampler().plan(10 + rank))


def test_every_object_is_seen_once_an_epoch_over_all_processes() -> None:
    ranks = [sampler(objects=8, rank=rank, world=2) for rank in range(2)]
    for epoch in range(3):
        seen = Counter(i for step in (2 * epoch, 2 * epoch + 1) for rank in ranks for i in rank.plan(step).objects)
        assert seen == Counter(range(8))


def test_views_are_distinct_and_half_the_draws_take_the_ring() -> None:
    draws = sampler()
    views = [chosen for step in range(200) for chosen in draws.plan(step).views]
    assert all(len(set(chosen)) == 16 and max(chosen) < 24 for chosen in views)
    rings = sum(chosen[:8] == list(range(8)) for chosen in views)
    assert 150 < rings < 250


@pytest.mark.parametrize("n", [2, 4, 8])
def test_half_the_draws_go_round_a_capture_in_the_order_of_time(n: int) -> None:
    """48 frames: a half orbit with 36 of them first, then quickly on. Its first eight span no more than 35 degrees."""
    turns = [5.0 * i for i in range(36)] + [180 + 15.0 * i for i in range(12)]
    each = [Cameras.orbit(1, elevation=5 + i / 4, azimuth=turn) for i, turn in enumerate(turns)]
    draws = sampler(cameras=Cameras.cat(each), counts=ViewsSpec(inputs=n, novel=8, novel_pixels=0.25))
    even = 0
    for step in range(100):
        for chosen in draws.plan(step).views:
            around = sorted(turns[view] for view in chosen[:n])
            even += max(b - a for a, b in zip(around, [*around[1:], around[0] + 360], strict=True)) <= 360 / n + 1e-6
            assert len(set(chosen)) == n + 8
    assert 75 < even < 125 + 100 / n**2


def test_an_objects_spread_views_are_chosen_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    whole = module.spread_views
    monkeypatch.setattr(module, "spread_views", lambda cameras, n: calls.append(n) or whole(cameras, n))
    draws = sampler(objects=3)
    for step in range(50):
        draws.plan(step)
    assert calls == [8, 8, 8]


@pytest.mark.slow
def test_noisy_views_share_t_and_clean_ones_have_none() -> None:
    counts = ViewsSpec(clean_probability=1.0, novel_pixels=0.25)
    for step in range(50):
        plan = sampler(counts=counts).plan(step)
        assert set(plan.is_clean.sum(1).tolist()) <= {1, 2}
        assert bool((plan.t[plan.is_clean] == 0).all())
        for t, is_clean in zip(plan.t, plan.is_clean, strict=True):
            assert len(set(t[~is_clean].tolist())) == 1
    levels = torch.cat([sampler(counts=ViewsSpec(clean_probability=0)).plan(step).t[:, 0] for step in range(500)])
    assert abs(float(levels.mean()) - 499.5) < 30 and float(levels.max()) <= 999


def test_novel_pixels_are_distinct_cells() -> None:
    cells = sampler().plan(0).novel_pixels
    assert cells is not None and cells.shape == (2, 8, 16)
    assert all(len(set(row.tolist())) == 16 and max(row) < 64 for row in cells.flatten(0, 1))
    assert sampler(counts=ViewsSpec(novel_pixels=1.0)).plan(0).novel_pixels is None
    assert sampler(counts=ViewsSpec(novel=0, novel_pixels=0.5)).plan(0).novel_pixels is None


@pytest.mark.slow
def test_captions_vary_and_are_dropped_as_often_as_asked() -> None:
    captions = Counter(c[:1] for step in range(500) for c in sampler(text_dropout=0.2).plan(step).captions)
    assert 140 < captions[""] < 260 and min(captions["a"], captions["b"]) > 300


def test_more_views_than_an_object_has_are_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"inputs 8 \+ novel 8 = 16, but object 'o0' has only 10 views"):
        sampler(cameras=rendered(10))
    with pytest.raises(SpecError, match="no object"):
        sampler(objects=0)
