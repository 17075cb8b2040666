"""The kit itself: stand-ins pass every check, and each component broken on purpose fails the one that asks for it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fake_distributions import FakeSite
from kit_tables import DESCRIPTORS, FIELDS, GOOD, LOOK_UPS
from kit_tables_datasets import BROKEN as DATASETS
from kit_tables_slots import BROKEN

from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS
from tunemv3d_core.testing import Outcome, checks_descriptor, checks_of, run_checks
from tunemv3d_core.testing.suite import Suite

PARTS = {
    "builds": ("field", "FieldOfOtherFeatures"),
    "shapes": ("view_encoder", "Squeezes"),
    "uneven_sizes": ("lifter", "RoundsDown"),
    "coarse_features": ("aggregator", "CountsOnCells"),
    "image_shapes": ("backbone", "PicksOtherPictures"),
    "dtype_kept": ("view_encoder", "Widens"),
    "device_kept": ("view_encoder", "NamesNoDevice"),
    "novel_views": ("field", "SaysNoToNovelViews"),
    "autocast": ("view_encoder", "Cancels"),
    "evaluation_deterministic": ("view_encoder", "Wavers"),
    "state_dict": ("view_encoder", "Forgets"),
    "view_permutation": ("view_encoder", "CountsViews"),
    "objects_apart": ("view_encoder", "MixesObjects"),
    "pixels_match_maps": ("field", "BlursMaps"),
    "scene": ("field", "OpacityAboveOne"),
    "scene_losses": ("field", "TakesOurName"),
    "can_be_called": ("loss", "NoFunction"),
    "per_view": ("loss", "Sums"),
    "gradients_reach_prediction": ("loss", "LooksAtTruthAlone"),
    "prediction_kept": ("loss", "EditsTheTargets"),
    "inputs_kept": ("view_encoder", "EditsItsInput"),
    "no_seed_set": ("view_encoder", "Reseeds"),
    "starts_at_zero": ("injector", "StartsAnywhere"),
    "none_equals_zeros": ("backbone", "NoneIsSpecial"),
    "equals_own_forward": ("backbone", "OtherForward"),
    "gradients_reach_parameters": ("view_encoder", "Idle"),
    "gradients_reach_inputs": ("lifter", "CutsOff"),
    "compiles": ("view_encoder", "CompilesOtherwise"),
    "loss_falls": ("field", "GoesUphill"),
    "survives_ddp": ("view_encoder", "DiffersByRank"),
    "meshes_a_sphere": ("mesher", "TurnsFaces"),
    "declares_figures": ("metric", "NeedsMore"),
    "gives_figures": ("metric", "GivesMore"),
    "figures_deterministic": ("metric", "Guesses"),
    "figures_in_any_order": ("metric", "RemembersBrightness"),
    "figures_keep_inputs": ("metric", "Dims"),
    "gives_factors": ("schedule", "DividesByTheRest"),
    "obeys_groups": ("optimizer", "KeepsItsOwnLr"),
    "goes_on": ("optimizer", "RemembersElsewhere"),
}

SUBTLE = [
    ("shapes", "aggregator", "SpreadsOneView"),
    ("view_permutation", "view_encoder", "TakesLogarithms"),
    ("view_permutation", "view_encoder", "LooksAtTheFirstTime"),
    ("view_permutation", "view_encoder", "LooksBack"),
    ("view_permutation", "view_encoder", "TellsManyViewsApart"),
    ("state_dict", "view_encoder", "RemembersTraining"),
    ("state_dict", "view_encoder", "SettlesAtFirstSight"),
    ("gradients_reach_parameters", "view_encoder", "HidesParameters"),
    ("no_seed_set", "view_encoder", "ReseedsWhenBuilt"),
    ("process_left_alone", "view_encoder", "ChangesTorch"),
    ("makes_scene", "field", "KnowsNoNormals"),
    ("scene", "field", "NormalsLast"),
    ("scene", "field", "DistanceKeepsAnAxis"),
    ("scene", "field", "DepthBehind"),
    ("scene_losses", "field", "RegularisesInTrainingAlone"),
    ("per_view", "loss", "ForgetsPixels"),
    ("meshes_a_sphere", "mesher", "LeavesAHole"),
    ("meshes_a_sphere", "mesher", "SwapsRedAndBlue"),
    ("meshes_a_sphere", "mesher", "Shrinks"),
    ("declares_figures", "metric", "MeasuresTwice"),
    ("gives_figures", "metric", "BrightnessOfTheObject"),
    ("gives_figures", "metric", "BrightnessInLevels"),
    ("figures_in_any_order", "metric", "FirstBrightness"),
    ("figures_in_any_order", "metric", "AddsToTheReal"),
    ("figures_keep_inputs", "metric", "Tunes"),
    ("gives_factors", "schedule", "Counts"),
    ("obeys_groups", "optimizer", "Climbs"),
    ("goes_on", "optimizer", "KeepsALock"),
]
"""Components that break a promise only now and then (``kit_subtle_parts``), with the check that finds it."""

AS_WELL = {
    "Squeezes": {"views_apart", "same_place"},
    "CountsViews": {"views_apart"},
    "LooksBack": {"views_apart"},
    "PicksOtherPictures": {"pictures_come_back"},
    "SettlesAtFirstSight": {"tensors_registered"},
    "Guesses": {"figures_in_any_view_order"},
}
"""What else fails with a component of ``PARTS`` or ``SUBTLE``, because it breaks another promise by the same line."""

SLOW = {"compiles", "survives_ddp"}
"""Asked of the components that break them, and of the good ones in slow tests."""

PROCESS = "light_descriptor"
"""The check that starts a process; asked of descriptors, not of each part that the same descriptor builds."""


def failures(slot: str, name: str, spec: dict[str, Any], also: set[str]) -> set[str]:
    """The checks that fail, of the quick ones and ``also``."""
    suite = Suite(slot, name, spec)
    results = [suite.result(check) for check in suite.checks if check.name not in {*SLOW, PROCESS} - also]
    return {result.check for result in results if result.outcome is Outcome.FAILED}


def test_every_check_has_a_component_that_breaks_it_and_stands_in_the_readme() -> None:
    checks = {check.name: check for slot in COMPONENT_SLOTS for check in checks_of(slot)}
    of_look_ups = {name.replace("at_points", "along_rays") for name in LOOK_UPS.values()} | set(LOOK_UPS.values())
    of_others = {name for name, _ in DATASETS.values()} | {name for parts in BROKEN.values() for name in parts.values()}
    assert checks.keys() == DESCRIPTORS.keys() | PARTS.keys() | of_look_ups | set(FIELDS.values()) | of_others
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    for name, check in checks.items():
        (row,) = (line for line in readme.splitlines() if line.startswith(f"| `{name}` |"))
        assert check.summary and row.endswith(f"| {check.summary} |")


@pytest.mark.parametrize("slot", GOOD)
def test_good_components_pass(kit: FakeSite, slot: str) -> None:
    assert failures(slot, "good", {"slot": slot, "part": GOOD[slot]}, {PROCESS}) == set()


def test_a_field_that_refuses_unseen_cameras_passes(kit: FakeSite) -> None:
    assert failures("field", "good", {"slot": "field", "part": "SeenOnly"}, set()) == set()


def test_a_good_metric_of_sets_passes(kit: FakeSite) -> None:
    assert failures("metric", "good", {"slot": "metric", "part": "MeanBrightness"}, set()) == set()


def test_a_good_metric_that_compares_with_real_objects_is_given_some(kit: FakeSite) -> None:
    assert failures("metric", "good", {"slot": "metric", "part": "BrighterThanReal"}, set()) == set()


@pytest.mark.slow
@pytest.mark.parametrize("slot", ["view_encoder"])
def test_good_components_pass_the_slow_checks_too(kit: FakeSite, slot: str) -> None:
    results = run_checks(slot, "good", {"slot": slot, "part": GOOD[slot]})
    assert {r.outcome for r in results} <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}


@pytest.mark.slow
@pytest.mark.parametrize("check", DESCRIPTORS)
def test_a_bad_descriptor_fails_its_check_alone(kit: FakeSite, check: str) -> None:
    name = DESCRIPTORS[check].lower().replace("_", "-")
    assert failures("view_encoder", name, {}, {PROCESS}) == {check}


@pytest.mark.parametrize("check", PARTS)
def test_a_broken_component_fails_its_check_alone(kit: FakeSite, check: str) -> None:
    slot, part = PARTS[check]
    assert failures(slot, "good", {"slot": slot, "part": part}, {check}) == {check} | AS_WELL.get(part, set())


@pytest.mark.parametrize(("check", "slot", "part"), SUBTLE)
def test_what_breaks_only_now_and_then_is_found_too(kit: FakeSite, check: str, slot: str, part: str) -> None:
    assert failures(slot, "good", {"slot": slot, "part": part}, set()) == {check} | AS_WELL.get(part, set())


def test_settings_of_torch_are_put_back_after_every_check(kit: FakeSite) -> None:
    before = torch.get_float32_matmul_precision()
    failures("view_encoder", "good", {"slot": "view_encoder", "part": "ChangesTorch"}, set())
    assert torch.get_float32_matmul_precision() == before != "medium"


def test_defaults_that_are_drawn_are_no_record(kit: FakeSite) -> None:
    assert failures("view_encoder", "dicing", {}, set()) == {"spec_round_trip"}


def test_what_is_no_exception_fails_a_check_as_well(kit: FakeSite) -> None:
    suite = Suite("view_encoder", "good", {"slot": "view_encoder", "part": "Panics"})
    (shapes,) = (check for check in suite.checks if check.name == "shapes")
    assert suite.result(shapes).note == "Panic: at the disco"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("import sys\nsys.exit()", "ends a fresh process (exit code 0)"),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(9,)).start()", "does not end within 2 s"),
    ],
)
def test_an_import_that_ends_a_process_or_holds_it(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch, more: str, told: str
) -> None:
    monkeypatch.setattr(checks_descriptor, "PATIENCE", 2)
    site.component("dataset", "odd", "fake-odd", more=more)
    notes = {result.check: result.note for result in run_checks("dataset", "odd")}
    assert told in notes["light_descriptor"]
