"""Whether a component survives data-parallel training, in two processes on this machine."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tunemv3d_core.testing.check import ConformanceError, NotApplicableError
from tunemv3d_core.testing.checks_descriptor import environment
from tunemv3d_core.testing.component import ComponentUnderTest, trainable

PATIENCE = 300
"""Seconds after which two processes that wait for each other are given up."""


def check_survives_ddp(component: ComponentUnderTest) -> None:
    """Under DistributedDataParallel two processes with other batches end three steps with the same weights."""
    if not trainable(component.built().module):
        raise NotApplicableError("it has no trainable parameters")
    with TemporaryDirectory() as folder:
        given = json.dumps([component.slot, component.name, component.given])
        command = [sys.executable, "-m", "tunemv3d_core.testing.ddp_worker", given, str(Path(folder) / "meeting")]
        workers = [
            subprocess.Popen(
                [*command, str(rank)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
            )
            for rank in range(2)
        ]
        try:
            told = [worker.communicate(timeout=PATIENCE) for worker in workers]
        except subprocess.TimeoutExpired:
            raise ConformanceError(f"the two processes waited for each other for {PATIENCE} s") from None
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    for rank, worker in enumerate(workers):
        if worker.returncode:
            raise ConformanceError(f"process {rank} failed:\n{told[rank][1][-3000:]}")
    if told[0][0] != told[1][0]:
        raise ConformanceError("the two processes ended with different weights")


CHECKS = (check_survives_ddp,)
OF_SLOT: dict[str, tuple[()]] = {}
