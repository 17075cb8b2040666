"""Controls are made of the samples' own latents, and a figure that puts noise beside real views is called useless."""

import pytest
import torch
from eval_toys import boxes_seen, chair, painted, toy_model
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Figure, MeasuredObject
from tunemv3d_core.types import Text
from tunemv3d_eval.metrics.hull_recall import hull_recall
from tunemv3d_eval.scoring.controls import control_objects, useless
from tunemv3d_eval.scoring.measure import finished_objects
from tunemv3d_eval.statistics.bootstrap import Interval

VIEWS, SIZE = 5, 24


@pytest.fixture(scope="module")
def samples() -> list[MeasuredObject]:
    """Seven chairs whose legs are of seven widths; the latents of view v of object i hold i and v in their corners."""
    latents = []
    for i in range(7):
        views = painted(boxes_seen(chair(0.04 + 0.02 * i), Cameras.orbit(VIEWS), SIZE))
        views[:, 0, 0, 0], views[:, 1, 0, 0] = i / 10, torch.arange(VIEWS) / 10
        latents.append(views)
    stacked, cameras = torch.stack(latents), Cameras.orbit(VIEWS)[None].expand(7, VIEWS)
    return finished_objects(
        toy_model(size=SIZE), stacked, Text(torch.zeros(7, 2, 4)), cameras, [f"c{i}" for i in range(7)]
    )


def origin(view: Tensor) -> tuple[int, int]:
    return round(10 * float(view[0, 0, 0])), round(10 * float(view[1, 0, 0]))


def test_repeated_shows_the_first_view_from_everywhere(samples: list[MeasuredObject]) -> None:
    made = control_objects(samples, toy_model(size=SIZE))["repeated"]
    for i, (control, sample) in enumerate(zip(made, samples, strict=True)):
        assert [origin(view) for view in control.latents] == [(i, 0)] * VIEWS
        assert control.prompt == sample.prompt
        assert torch.equal(control.cameras.camera_to_world, sample.cameras.camera_to_world)
        assert torch.equal(control.images[3], sample.images[0])
        assert control.opacity is not None and control.renders is not None


def test_shuffled_takes_every_view_once_from_its_own_camera(samples: list[MeasuredObject]) -> None:
    made = control_objects(samples, toy_model(size=SIZE), seed=3)["shuffled"]
    found = [[origin(view) for view in control.latents] for control in made]
    for views in found:
        assert [view for _, view in views] == list(range(VIEWS))
        assert len({i for i, _ in views}) == VIEWS
    assert sorted(each for views in found for each in views) == [(i, v) for i in range(7) for v in range(VIEWS)]
    again = control_objects(samples, toy_model(size=SIZE), seed=3)["shuffled"]
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(made, again, strict=True))
    other = control_objects(samples, toy_model(size=SIZE), seed=4)["shuffled"]
    assert any(not torch.equal(a.latents, b.latents) for a, b in zip(made, other, strict=True))


def test_noise_keeps_the_cells_and_loses_the_object(samples: list[MeasuredObject]) -> None:
    made = control_objects(samples, toy_model(size=SIZE))["noise"]
    for control, sample in zip(made, samples, strict=True):
        for view, original in zip(control.latents, sample.latents, strict=True):
            cells, of_sample = (sorted(map(tuple, each.flatten(1).T.tolist())) for each in (view, original))
            assert cells == of_sample
    recall, floor = (
        [float(hull_recall(each.silhouettes[None], each.cameras[None])) for each in objects]
        for objects in (samples, made)
    )
    assert sum(floor) < 0.85 * sum(recall)
    order = made[0].latents[:, 2].flatten(1)
    assert not torch.equal(order[0], order[1])


def test_one_sample_alone_cannot_be_shuffled(samples: list[MeasuredObject]) -> None:
    assert list(control_objects(samples, toy_model(size=SIZE))) == ["repeated", "shuffled", "noise"]
    assert list(control_objects(samples[:1], toy_model(size=SIZE))) == ["repeated", "noise"]


@pytest.mark.parametrize(
    ("real", "noise", "higher", "expected"),
    [
        ((0.9, 0.85, 0.95), (0.3, 0.2, 0.4), True, False),
        ((0.9, 0.85, 0.95), (0.8, 0.7, 0.85), True, True),  # they touch
        ((0.5, 0.4, 0.6), (0.9, 0.8, 1.0), True, True),  # noise is better
        ((0.1, 0.0, 0.2), (0.9, 0.8, 1.0), False, False),
        ((0.1, 0.0, 0.5), (0.4, 0.3, 1.0), False, True),
        ((0.5, None, None), (0.5, 0.4, 0.6), True, False),  # nothing can be said
        ((None, None, None), (0.5, 0.4, 0.6), True, False),
    ],
)
def test_useless_is_what_overlaps(
    real: tuple[float, ...], noise: tuple[float, ...], higher: bool, expected: bool
) -> None:
    reason = useless(Interval(*real), Interval(*noise), Figure("x", higher_is_better=higher))
    assert (reason is not None) == expected
    assert reason is None or f"{real[0]}" in reason
