"""Check of data-parallel training, in two processes on this machine."""

import multiprocessing
import os
import re
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tunemv3d_core.testing import ddp_worker
from tunemv3d_core.testing.check import ConformanceError, NotApplicableError
from tunemv3d_core.testing.component import ComponentUnderTest, trainable

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

PATIENCE = 300
"""Time limit in seconds of the two processes, which may wait for each other."""


def check_survives_ddp(component: ComponentUnderTest) -> None:
    """Under DistributedDataParallel, two processes with different batches have equal weights after three steps."""
    if not trainable(component.built().module):
        raise NotApplicableError("it has no trainable parameters")
    given = (component.slot, component.name, component.given)
    with TemporaryDirectory() as folder:
        context = _context()
        ranks = [context.Process(target=ddp_worker.main, args=(given, folder, rank, {**os.environ})) for rank in (0, 1)]
        for number, rank in enumerate(ranks):
            Path(folder, f"errors-{number}").touch()
            rank.start()
        until = time.monotonic() + PATIENCE
        for rank in ranks:
            rank.join(max(0, until - time.monotonic()))
        codes = [rank.exitcode for rank in ranks]
        for rank in ranks:
            rank.kill()
            rank.join()
        if None in codes:
            raise ConformanceError(f"the two processes waited for each other for {PATIENCE} s")
        for number, code in enumerate(codes):
            if code:
                printed = Path(folder, f"errors-{number}").read_text("utf-8", "replace")
                raise WorkerError(f"process {number} failed: {_last_line(printed)}", printed)
        if Path(folder, "digest-0").read_bytes() != Path(folder, "digest-1").read_bytes():
            raise ConformanceError("the two processes ended with different weights")


class WorkerError(ConformanceError):
    """One of the two processes failed.

    Attributes:
        frames: of the traceback that it printed, (file, line), outermost first.
    """

    def __init__(self, message: str, printed: str) -> None:
        super().__init__(message)
        self.frames = [(file, int(line)) for file, line in re.findall(r'File "(.+?)", line (\d+)', printed)]
        self.add_note(printed)


def _last_line(printed: str) -> str:
    return next((line.strip() for line in reversed(printed.splitlines()) if line.strip()), "it printed nothing")


def _context() -> "ForkServerContext | SpawnContext":
    """Start processes where torch is imported already, if the system can: several components are checked in a row.

    ``torch._dynamo`` is what optimizers import when the first one is made, which takes as long as torch itself.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([ddp_worker.__name__, "torch._dynamo"])
    return context


CHECKS = (check_survives_ddp,)
OF_SLOT: dict[str, tuple[()]] = {}
