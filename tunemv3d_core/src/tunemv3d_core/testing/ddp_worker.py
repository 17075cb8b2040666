"""One of the two processes of ``check_survives_ddp``: three steps, then a digest of the weights."""

import hashlib
import os
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.distributed import init_process_group
from torch.nn.parallel import DistributedDataParallel

from tunemv3d_core.testing.batches import Size
from tunemv3d_core.testing.component import ComponentUnderTest, trainable
from tunemv3d_core.testing.training_probe import TrainingProbe


def main(given: tuple[str, str, dict[str, Any]], folder: str, rank: int, environment: Mapping[str, str]) -> None:
    """Train a component under DDP; write a digest of its weights to ``digest-RANK``, what it prints to ``errors-RANK``.

    Args:
        given: slot, name and options.
        folder: where the processes find each other and write.
        rank: 0 or 1.
        environment: variables of the process that started this one.
    """
    printed = os.open(Path(folder, f"errors-{rank}"), os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(printed, sys.stdout.fileno())
    os.dup2(printed, sys.stderr.fileno())
    os.environ.update(environment)
    torch.set_num_threads(1)
    os.environ["RANK"], os.environ["WORLD_SIZE"] = str(rank), "2"
    patience = timedelta(seconds=240)
    init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=patience)
    built = ComponentUnderTest(*given).built(seed=rank)
    parallel = DistributedDataParallel(TrainingProbe(built).train())
    optimizer = torch.optim.AdamW(trainable(built.module).values(), lr=1e-3)
    for step in range(3):
        optimizer.zero_grad()
        parallel(built.batch(Size(1, 2, 1, 8, 8), seed=10 * step + rank)).backward()
        optimizer.step()
    digest = hashlib.sha256()
    for name, parameter in trainable(built.module).items():
        digest.update(name.encode() + parameter.detach().numpy().tobytes())
    Path(folder, f"digest-{rank}").write_bytes(digest.digest())
    # Taking the group down races with the other process's end, and gloo's threads may then abort this one.
    os._exit(0)
