"""A disk without room at any write: one message, nothing lost, and with room the same command goes on."""

from pathlib import Path

import pytest
from disturbed import KINDS
from file_operations import GROWS
from harness import Zygote, spread
from power_cut import operations, told_before
from tally import Tally

SMALL = {"run": 4, "latents": 1, "rendering": 2, "packing": 1, "evaluation": 1}


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_full_disk_at_any_write(kind: str, zygote: Zygote, tmp_path: Path) -> None:
    job = KINDS[kind](zygote, tmp_path)
    done = operations(job.events)
    growing = [number for number, event in enumerate(done) if event[0] in GROWS]
    tally = Tally("full disks", kind, operations=len(growing))
    for chosen in spread(SMALL[kind], len(growing)):
        number = growing[chosen]
        with tally.attempt(f"from operation {number} on, {done[number][:3]}"):
            job.prepare()
            zygote.run(*job.argv, fault={"root": str(job.root), "full_at": number}).was_refused()
            job.goes_on(zygote, told_before(job.events, number))
    tally.close()
