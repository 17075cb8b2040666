"""What an evaluation samples: prompts with their noise, and the options that all of them share."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.consistency import Consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.ports import BackbonePorts
from tunemv3d_core.sampling import latent_size

Item = TypeVar("Item")


@dataclass(frozen=True)
class Settings:
    """Settings of the sampling.

    Attributes:
        consistency: the values of K.
        options: of the sampling, but for K.
        views: cameras, evenly around the object.
        elevation: of the cameras, degrees.
    """

    consistency: tuple[Consistency, ...]
    options: SampleSpec
    views: int
    elevation: float

    def cameras(self, ports: BackbonePorts) -> Cameras:
        """Place the cameras around an object, shape ``(views,)``."""
        h, w = latent_size(ports, self.options.size)
        return Cameras.orbit(self.views, self.elevation, aspect=w / h)

    def as_json(self) -> dict[str, Any]:
        """Return all that shapes a sample, but for its prompt, its seed and K."""
        options = self.options.model_dump(mode="json", exclude={"consistency"})
        return {**options, "views": self.views, "elevation": self.elevation}


@dataclass(frozen=True)
class Job:
    """One prompt with the seed of its noise.

    Attributes:
        index: of the prompt.
        prompt: itself.
        seed: of the noise.
    """

    index: int
    prompt: str
    seed: int


def jobs(prompts: Sequence[str], seeds: int) -> list[Job]:
    """Return every prompt ``seeds`` times, all prompts before any comes again, so that the first N say most.

    No two jobs share a seed, so that no noise is favoured.
    """
    return [Job(i, prompt, i + s * len(prompts)) for s in range(seeds) for i, prompt in enumerate(prompts)]


def objects_at_once(model: MultiviewDiffusion, on_accelerator: int) -> int:
    """Return how many objects a batch begins with; one at a time on a CPU."""
    return 1 if model.device.type == "cpu" else on_accelerator


def in_batches(
    items: Sequence[Item], size: int, work: Callable[[Sequence[Item]], Any]
) -> Iterator[tuple[Sequence[Item], Any]]:
    """Work through items in batches of ``size``; from the first batch that does not fit in memory on, of half of it."""
    done = 0
    while done < len(items):
        batch = items[done : done + size]
        try:
            result = work(batch)
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
            size = len(batch) // 2
            torch.cuda.empty_cache()
            continue
        yield batch, result
        done += len(batch)
