"""One of the two processes of ``check_survives_ddp``: three steps, then a digest of the weights on standard output."""

import hashlib
import json
import os
import sys
from datetime import timedelta

import torch
from torch.distributed import init_process_group
from torch.nn.parallel import DistributedDataParallel

from tunemv3d_core.testing.batches import Size
from tunemv3d_core.testing.component import ComponentUnderTest, trainable
from tunemv3d_core.testing.training_probe import TrainingProbe


def main(given: str, meeting: str, rank: int) -> None:
    """Train a component under DDP.

    Args:
        given: slot, name and options as JSON.
        meeting: path of a file through which the processes find each other.
        rank: 0 or 1.
    """
    torch.set_num_threads(1)
    os.environ["RANK"], os.environ["WORLD_SIZE"] = str(rank), "2"
    patience = timedelta(seconds=240)
    init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2, timeout=patience)
    built = ComponentUnderTest(*json.loads(given)).built(seed=rank)
    parallel = DistributedDataParallel(TrainingProbe(built).train())
    optimizer = torch.optim.AdamW(trainable(built.module).values(), lr=1e-3)
    for step in range(3):
        optimizer.zero_grad()
        parallel(built.batch(Size(1, 2, 1, 8, 8), seed=10 * step + rank)).backward()
        optimizer.step()
    digest = hashlib.sha256()
    for name, parameter in trainable(built.module).items():
        digest.update(name.encode() + parameter.detach().numpy().tobytes())
    print(digest.hexdigest(), flush=True)
    # Taking the group down races with the other process's end, and gloo's threads may then abort this one.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
