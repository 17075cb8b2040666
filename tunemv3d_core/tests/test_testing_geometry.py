"""What authors of fields and aggregators get wrong about geometry is found by a named check, exactly and at once."""

import kit_geometry
import pytest
from fake_distributions import FakeSite
from kit_geometry import Ball

from tunemv3d_core.testing import Outcome
from tunemv3d_core.testing.suite import Suite

UNASKED = {"compiles", "survives_ddp", "loss_falls"}
"""Checks that train or take long."""

LOOK_UPS = {
    "SwapsXAndY": "rolled_views",
    "TransposesMaps": "rolled_views",
    "YUp": "rolled_views",
    "OpenGLCameras": "looks_at_points",
    "MirrorsTheWorld": "looks_at_points",
    "YUpWorld": "looks_at_points",
    "WorldToCamera": "looks_at_points",
    "TransposedRotation": "looks_at_points",
    "AlignsCorners": "cropped_views",
    "HalfAPixelOff": "rolled_views",
    "FxForFy": "rolled_views",
    "CentredLenses": "cropped_views",
    "SquareLenses": "cropped_views",
    "IgnoresDistance": "looks_at_points",
    "IgnoresCameras": "depends_on_cameras",
    "OneCameraForAll": "looks_at_points",
}
"""Broken look-ups, of aggregators and of fields, and the check that finds each."""

FIELDS = {
    "QuerySwapsXAndY": "rolled_camera",
    "QueryYUp": "rolled_camera",
    "QueryHalfAPixelOff": "rolled_camera",
    "QueryFxForFy": "rolled_camera",
    "QueryCentredLenses": "turned_camera",
    "QueryOpenGL": "looks_along_rays",
    "QueryMirrored": "looks_along_rays",
    "IgnoresQueryCamera": "rolled_camera",
    "FirstQueryCamera": "query_views_apart",
    "MixesQueryViews": "query_views_apart",
    "InvertsOpacity": "empty_outside_sphere",
    "OpaqueEverywhere": "empty_outside_sphere",
    "DetachesOpacity": "gradients_reach_inputs",
    "DividesValues": "premultiplied_values",
    "PaintsWhite": "empty_outside_sphere",
    "DepthOfRays": "turned_camera",
    "DepthTimesOpacity": "depth_within_sphere",
    "FarWhereNothingIs": "empty_outside_sphere",
    "DepthFromTheSphere": "depth_within_sphere",
    "Disparity": "depth_within_sphere",
    "HalfDepth": "dtype_kept",
    "NormalsInward": "normals_outward",
    "NormalsInCamera": "rolled_camera",
    "NormalsOfLengthTwo": "unit_normals",
    "NormalsTowardsCamera": "normals_outward",
    "NegatesDistance": "distance_of_surface",
    "TriplesDistance": "distance_in_world_units",
    "DistanceOfASphere": "distance_follows_features",
    "DistanceOfASmallerShape": "distance_of_surface",
    "DistanceWithoutSign": "distance_of_surface",
    "IgnoresT": "depends_on_t",
    "NormalisesOverObjects": "objects_apart",
    "DividesByZero": "gradients_finite",
    "LossOfNothing": "gradients_finite",
    "KeepsATensor": "tensors_registered",
    "NoLosses": "makes_scene",
    "GivesATuple": "makes_scene",
    "StopsAtEightViews": "view_permutation",
    "LeaksOutOfTheSphere": "empty_outside_sphere",
}
"""Broken fields, and the check that finds each."""


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
