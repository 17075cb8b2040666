"""Metrics of pixels must not make a GPU be waited for per view: its queue runs dry, and others' work comes between.

Counted without one: every call whose result's size or value the host has to know.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from eval_toys import boxes_seen, chair, painted, toy_model
from torch.utils._python_dispatch import TorchDispatchMode

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_eval.metrics import reprojection as module
from tunemv3d_eval.metrics.colour import build_colour
from tunemv3d_eval.metrics.hull_recall import hull_recalls
from tunemv3d_eval.metrics.part_colours import build_part_colours

WAITED_FOR = {"nonzero", "_local_scalar_dense", "bincount", "masked_select", "_unique2", "equal", "is_nonzero"}


class Waits(TorchDispatchMode):
    """Counts calls that a GPU is waited for in."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in WAITED_FOR or by_mask:
            self.calls["mask" if by_mask else name] += 1
        return func(*args, **(kwargs or {}))


def sample(views: int) -> MeasuredObject:
    cameras = Cameras.orbit(views)
    seen = boxes_seen(chair(), cameras, 64)
    return MeasuredObject("a red chair with blue legs", painted(seen), seen, painted(seen), cameras, seen.float())


def waits(metric: str, views: int) -> int:
    given, model = sample(views), toy_model()
    opacity, depth = given.silhouettes.float(), 2.7 * given.silhouettes.float()
    measured = {
        "reprojection": lambda: module.reprojection(given.images, given.silhouettes, opacity, depth, given.cameras),
        "colour": lambda: build_colour(ComponentSpec(type="colour")).measure(given, model),
        "part-colours": lambda: build_part_colours(ComponentSpec(type="part-colours")).measure(given, model),
    }
    with Waits() as counted:
        measured[metric]()
    return counted.calls.total()


@pytest.mark.parametrize(("metric", "most"), [("reprojection", 1), ("colour", 1), ("part-colours", 2)])
def test_a_gpu_is_waited_for_once_or_twice_whatever_the_number_of_views(metric: str, most: int) -> None:
    assert waits(metric, 4) == waits(metric, 8) == most


def test_hull_recall_only_waits_for_what_it_throws_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where points are not thinned out: the silhouettes' pixels, and the rays that have no point yet."""
    from tunemv3d_eval.metrics import hull_recall

    thinning = hull_recall._needed_by_some
    monkeypatch.setattr(hull_recall, "_needed_by_some", lambda *given: thinning(*given[:-1], False))
    for views in (4, 8):
        given = sample(views)
        with Waits() as counted:
            hull_recalls(given.silhouettes[None], given.cameras[None], (0, 4))
        assert counted.calls == {"nonzero": 2}
