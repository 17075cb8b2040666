"""A process that dies at any file operation: what was told saved is there, and the same command makes the same end."""

from pathlib import Path

import pytest
from disturbed import KINDS
from file_operations import KILLED
from harness import Zygote, spread
from power_cut import operations, told_before
from tally import Tally

SMALL = {"run": 11, "latents": 2, "rendering": 3, "packing": 2, "evaluation": 2}
"""20 in the small suite."""


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_file_operation(kind: str, zygote: Zygote, tmp_path: Path) -> None:
    job = KINDS[kind](zygote, tmp_path)
    done = operations(job.events)
    tally = Tally("kills", kind, operations=len(done))
    writes = [number for number, event in enumerate(done) if event[0] == "write"]
    places = [(number, False) for number in range(len(done))] + [(number, True) for number in writes]
    for chosen in spread(SMALL[kind], len(places)):
        number, torn = places[chosen]
        with tally.attempt(f"{'inside' if torn else 'before'} operation {number}, {done[number][:3]}"):
            job.prepare()
            fault = {"root": str(job.root), "kill_at": number, "torn": torn}
            assert zygote.run(*job.argv, fault=fault).code == KILLED
            job.goes_on(zygote, told_before(job.events, number))
    tally.close()
