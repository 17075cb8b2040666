"""The kit on a GPU: stand-ins pass it there too, and what only a GPU shows is found."""

import pytest
import torch
from fake_distributions import FakeSite
from kit_tables import GOOD

from tunemv3d_core.plugins.descriptor import MODEL_SLOTS
from tunemv3d_core.testing import Outcome, run_checks

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


@pytest.mark.parametrize("slot", [*MODEL_SLOTS, "aggregator", "loss"])
def test_good_components_pass(kit: FakeSite, slot: str) -> None:
    results = run_checks(slot, "good", {"slot": slot, "part": GOOD[slot]}, device="cuda")
    assert {r.outcome for r in results} <= {Outcome.PASSED, Outcome.NOT_APPLICABLE}, results


def test_a_tensor_that_does_not_move_with_its_module_is_found(kit: FakeSite) -> None:
    spec = {"slot": "view_encoder", "part": "LeavesATensorBehind"}
    on = {
        device: {r.check: r for r in run_checks("view_encoder", "good", spec, device=device)}
        for device in ("cpu", "cuda")
    }
    assert on["cpu"]["shapes"].outcome is Outcome.PASSED
    assert on["cuda"]["shapes"].outcome is Outcome.FAILED and "device" in on["cuda"]["shapes"].note
