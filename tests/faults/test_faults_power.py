"""Power that is cut at any file operation: what was not synced is lost, what was told saved is not."""

from pathlib import Path

import pytest
from disturbed import KINDS
from harness import FULL, Zygote, files_of, fresh, spread
from power_cut import operations, replay, told_before
from tally import Tally

SMALL = {"run": 11, "latents": 2, "rendering": 3, "packing": 2, "evaluation": 2}
"""20 in the small suite."""

POLICIES = ("lost", "hollow", "mixed")


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_power_cut_at_any_file_operation(kind: str, zygote: Zygote, tmp_path: Path) -> None:
    job = KINDS[kind](zygote, tmp_path)
    done = operations(job.events)
    whole = replay(job.events, job.root, job.before, len(done))
    whole.write_out(fresh(tmp_path / "replayed"), "kept")
    assert files_of(tmp_path / "replayed") == files_of(job.root), "the layer does not see every operation"
    tally = Tally("power cuts", kind, operations=len(done))
    chosen = spread(SMALL[kind], len(done))
    for place, number in enumerate(chosen):
        for policy in POLICIES if FULL else POLICIES[place % 3 :][:1]:
            with tally.attempt(f"at operation {number}, {done[number][:3]}, {policy}"):
                job.prepare()
                replay(job.events, job.root, job.before, number).write_out(fresh(job.root), policy, seed=number)
                job.goes_on(zygote, told_before(job.events, number))
    tally.close()
