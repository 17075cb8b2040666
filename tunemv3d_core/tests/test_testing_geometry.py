"""What authors of fields and aggregators get wrong about geometry is found by a named check, exactly and at once."""

from itertools import product
from pathlib import Path

import kit_geometry
import kit_look_ups
import pytest
import torch
from fake_distributions import FakeSite
from kit_geometry import Ball
from kit_tables import FIELDS, LOOK_UPS

from tunemv3d_core.testing import Outcome
from tunemv3d_core.testing.component import ComponentUnderTest
from tunemv3d_core.testing.posed import input_views
from tunemv3d_core.testing.suite import Suite

UNASKED = {"compiles", "survives_ddp", "loss_falls"}
"""Checks that train or take long."""


def asked(slot: str, part: str, name: str = "") -> dict[str, str]:
    """The notes of the checks that fail: of one, or of all exact ones."""
    suite = Suite(slot, "good", {"slot": slot, "part": part})
    checks = [check for check in suite.checks if (check.name == name if name else check.name not in UNASKED)]
    return {result.check: result.note for result in map(suite.result, checks) if result.outcome is Outcome.FAILED}


@pytest.fixture
def fields_that_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in LOOK_UPS:
        kind = type(f"BallThat{part}", (Ball,), {"look_up": getattr(kit_look_ups, part)})
        monkeypatch.setattr(kit_geometry, kind.__name__, kind, raising=False)


@pytest.mark.slow
@pytest.mark.parametrize(("slot", "part"), [("field", "Ball"), ("aggregator", "LookUp")])
def test_what_is_right_passes(kit: FakeSite, slot: str, part: str) -> None:
    assert asked(slot, part) == {}


@pytest.mark.parametrize("part", LOOK_UPS)
def test_a_broken_aggregator_is_found(kit: FakeSite, part: str) -> None:
    assert asked("aggregator", part, LOOK_UPS[part])


@pytest.mark.parametrize("part", LOOK_UPS)
def test_a_field_with_a_broken_look_up_is_found(kit: FakeSite, fields_that_look_up: None, part: str) -> None:
    assert asked("field", f"BallThat{part}", LOOK_UPS[part].replace("looks_at_points", "looks_along_rays"))


@pytest.mark.parametrize("part", FIELDS)
def test_a_broken_field_is_found(kit: FakeSite, part: str) -> None:
    assert asked("field", part, FIELDS[part])


def line_told(part: str, name: str) -> str:
    """The line of the author's code that a check names."""
    suite = Suite("field", "good", {"slot": "field", "part": part})
    (where,) = (suite.result(check).where for check in suite.checks if check.name == name)
    file, _, line = where.rpartition(":")
    return Path(file).read_text("utf-8").splitlines()[int(line) - 1].strip()


def test_the_line_is_told_of_a_nan_and_of_an_error_or_else_where_the_field_begins(
    kit: FakeSite,
) -> None:
    assert line_told("DividesByZero", "gradients_finite") == "length = features.square().sum(2, keepdim=True).sqrt()"
    assert line_told("CountsAxes", "makes_scene") == "b, n, f = features.shape"
    assert line_told("TriplesDistance", "distance_in_world_units") == "class TriplesDistance(Ball):"


def test_a_scene_without_a_method_is_told_once(kit: FakeSite) -> None:
    suite = Suite("field", "good", {"slot": "field", "part": "NoLosses"})
    results = [suite.result(check) for check in suite.checks]
    (failed,) = (result for result in results if result.outcome is Outcome.FAILED)
    assert failed.note.startswith("fuse gave SceneWithoutLosses, which has no losses")
    assert {result.note for result in results if result.outcome is Outcome.NOT_RUN} <= {
        "needs 'makes_scene'",
        "needs 'scene'",
        "needs 'shapes'",
    }


def test_the_cube_around_the_sphere_is_seen_whole_by_all_cropped_views(kit: FakeSite) -> None:
    """Interpolation within the cut maps reads no cell beyond their edges, so that cutting changes nothing."""
    views = input_views(ComponentUnderTest("field", "good", {"slot": "field", "part": "Ball"}).built())
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=3)))
    for each in (views, views.cropped(), views.rolled()):
        h, w = each.features.shape[-2:]
        cells = each.cameras.project(corners.expand(1, 1, 8, 3))[0] * torch.tensor([w, h]) - 0.5
        assert (cells >= 0).all() and (cells <= torch.tensor([w - 1, h - 1])).all()
        fx, fy, cx, cy = each.cameras.intrinsics[0, 0].tolist()
        assert abs(fx - fy) > 0.1 and abs(cx - 0.5) > 0.005 and abs(cy - 0.5) > 0.005 and h != w
