"""What authors of the other slots get wrong is found by a named check, exactly and at once."""

import pytest
from fake_distributions import FakeSite
from kit_tables_slots import BROKEN

from tunemv3d_core.testing import Outcome, Result, run_checks, suite
from tunemv3d_core.testing.suite import Suite


def asked(slot: str, part: str, check: str) -> Result:
    """Ask one check, and those that it needs."""
    one = Suite(slot, "good", {"slot": slot, "part": part}, only=[check])
    return one.result(one.checks[-1])


@pytest.mark.parametrize(("slot", "part"), [(slot, part) for slot, parts in BROKEN.items() for part in parts])
def test_a_broken_component_is_found(kit: FakeSite, slot: str, part: str) -> None:
    assert asked(slot, part, BROKEN[slot][part]).outcome is Outcome.FAILED


@pytest.mark.parametrize("part", ["Smooth", "Crisp"])
def test_a_loss_that_compares_with_no_truth_passes(kit: FakeSite, part: str) -> None:
    results = run_checks("loss", "good", {"slot": "loss", "part": part})
    assert {result.outcome for result in results} == {Outcome.PASSED}


def test_at_least_twelve_of_a_slot() -> None:
    assert all(len(parts) >= 12 for parts in BROKEN.values())


def test_a_component_that_hangs_is_interrupted_and_its_line_is_told(
    kit: FakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "PATIENCE", 0.5)
    result = asked("view_encoder", "NeverEnds", "shapes")
    assert (result.outcome, result.note) == (Outcome.FAILED, "it does not end within 0.5 s")
    assert "kit_view_encoders.py:" in result.where


def test_what_a_component_prints_is_not_among_the_results(kit: FakeSite, capsys: pytest.CaptureFixture[str]) -> None:
    asked("injector", "Prints", "process_left_alone")
    out, err = capsys.readouterr()
    assert out == "" and "residual 0" in err
