"""The processes that a launcher such as torchrun started for one command, and which of its work is whose."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """This process among those that work together. One alone needs no launcher.

    Attributes:
        rank: its number; the first reports.
        world: how many there are.
        local: its number on this machine.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def launched(cls) -> "Ranks":
        """Return what the launcher says in the environment, and join the others."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        ranks = cls(*(int(os.environ.get(name, default)) for name, default in zip(names, "010", strict=True)))
        if ranks.world > 1 and not dist.is_initialized():
            # They wait for one another only to begin and to end, and one may have more to do by far.
            dist.init_process_group("gloo", timeout=timedelta(days=7))
        return ranks

    def device(self, asked: torch.device) -> torch.device:
        """Return this process's own GPU where GPUs were asked for without a number."""
        own = asked.type == "cuda" and asked.index is None and self.world > 1
        return torch.device("cuda", self.local) if own else asked

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Return every ``world``-th item, beginning with the one of this process's number."""
        return list(items[self.rank :: self.world])

    def total(self, count: int) -> int:
        """Add up a number over all processes; waits for them."""
        if self.world == 1:
            return count
        sums = torch.tensor(count)
        dist.all_reduce(sums)
        return int(sums)

    def joined(self, items: Sequence[Item]) -> list[Item]:
        """Return the items of all processes, those of the first one first; waits for them."""
        if self.world == 1:
            return list(items)
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, list(items))
        return [item for part in parts for item in part]


ALONE = Ranks()
"""The only process of its command."""
