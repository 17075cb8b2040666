"""Check of data-parallel training, in two processes on this machine."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tunemv3d_core.testing.check import ConformanceError, NotApplicableError
from tunemv3d_core.testing.checks_descriptor import environment
from tunemv3d_core.testing.component import ComponentUnderTest, trainable

PATIENCE = 300
"""Time limit in seconds of the two processes, which may wait for each other."""


def check_survives_ddp(component: ComponentUnderTest) -> None:
    """Under DistributedDataParallel, two processes with different batches have equal weights after three steps."""
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
            outputs = [worker.communicate(timeout=PATIENCE) for worker in workers]
        except subprocess.TimeoutExpired:
            raise ConformanceError(f"the two processes waited for each other for {PATIENCE} s") from None
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    for rank, worker in enumerate(workers):
        if worker.returncode:
            raise ConformanceError(f"process {rank} failed:\n{outputs[rank][1][-3000:]}")
    if outputs[0][0] != outputs[1][0]:
        raise ConformanceError("the two processes ended with different weights")


CHECKS = (check_survives_ddp,)
OF_SLOT: dict[str, tuple[()]] = {}
