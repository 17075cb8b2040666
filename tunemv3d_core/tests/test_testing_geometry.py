"""What authors of fields and aggregators get wrong about geometry is found by a named check, exactly and at once."""

import kit_geometry
import pytest
from fake_distributions import FakeSite
from kit_geometry import Ball
from kit_tables import FIELDS, LOOK_UPS

from tunemv3d_core.testing import Outcome
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
        kind = type(f"BallThat{part}", (Ball,), {"look_up": getattr(kit_geometry, part)})
        monkeypatch.setattr(kit_geometry, kind.__name__, kind, raising=False)


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
