"""Warn, refuse or ignore, as the caller or the environment says."""

import warnings
from pathlib import Path

import pytest

from tunemv3d_core.errors import CheckpointError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.io.mismatch_policy import apply_policy

HERE, DIFFERENCES = Path("runs/mine"), ["saved with a==1, a==2 is installed", "another frozen model"]


@pytest.mark.parametrize(
    ("environment", "given", "what"),
    [
        (None, None, "warn"),
        ("", None, "warn"),
        ("error", None, "error"),
        ("ignore", None, "ignore"),
        ("error", "warn", "warn"),
        ("error", "ignore", "ignore"),
        ("ignore", "error", "error"),
    ],
)
def test_the_caller_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: str | None, given: str | None, what: str
) -> None:
    monkeypatch.delenv("TUNEMV3D_PROVENANCE", raising=False)
    if environment is not None:
        monkeypatch.setenv("TUNEMV3D_PROVENANCE", environment)
    lines = [f"{HERE}: {difference}" for difference in DIFFERENCES]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        apply_policy([], HERE, given)
        if what == "error":
            with pytest.raises(CheckpointError) as refused:
                apply_policy(DIFFERENCES, HERE, given)
            assert str(refused.value).splitlines() == [*lines, "set TUNEMV3D_PROVENANCE=warn to load it anyway"]
        else:
            apply_policy(DIFFERENCES, HERE, given)
    assert [str(warning.message) for warning in told] == (lines if what == "warn" else [])
    assert {warning.category for warning in told} <= {TuneMV3DWarning}


def test_a_policy_that_does_not_exist_is_refused_even_if_nothing_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEMV3D_PROVENANCE", "strict")
    with pytest.raises(TuneMV3DError, match=r"^TUNEMV3D_PROVENANCE: should be warn, error, ignore, got 'strict'$"):
        apply_policy([], HERE)
    with pytest.raises(TuneMV3DError, match=r"^provenance: should be"):
        apply_policy([], HERE, "never")
