"""Losses summed over steps on the device; they are read only when they are logged."""

from collections.abc import Mapping, Sequence

import torch
from accelerate.utils import gather_object
from torch import Tensor

from tunemv3d_train.hooks import PICTURE
from tunemv3d_train.losses import LEVELS, level_name

COUNTED = "counted"
SKIPPED = "skipped"


class LossSums:
    """Sums of losses, of those steps whose losses and gradients are finite.

    Args:
        timesteps: length of the noise schedule.
        processes: that train together; what is read is of all of them.
    """

    def __init__(self, timesteps: int, processes: int = 1) -> None:
        self._timesteps, self._processes = timesteps, processes
        self._sums: dict[str, Tensor] = {}

    def add(self, losses: Mapping[str, Tensor], skipped: Tensor) -> None:
        """Add the losses of one pass, not its pictures.

        ``skipped``, a scalar, is above 0 where its gradient was not finite.
        """
        bad = skipped > 0
        counted = losses["loss"].isfinite() & ~bad
        summed = {name: value for name, value in losses.items() if not name.startswith(PICTURE)}
        passed = {name: torch.where(counted, value, torch.zeros_like(value)) for name, value in summed.items()}
        for name, value in {**passed, COUNTED: counted.float(), SKIPPED: bad.float()}.items():
            if name in self._sums:
                self._sums[name] += value
            else:
                self._sums[name] = value.clone()

    def read(self) -> tuple[dict[str, float], int]:
        """Return the mean losses since the last reading and how many steps were skipped. Waits for the device.

        All processes call it together.
        """
        if not self._sums:
            return {}, 0
        # One transfer from the device for all of them.
        values = torch.cat([tensor.flatten().float() for tensor in self._sums.values()]).tolist()
        read: dict[str, list[float]] = {}
        for name, tensor in self._sums.items():
            read[name], values = values[: tensor.numel()], values[tensor.numel() :]
        self._sums = {}
        (skipped,) = read.pop(SKIPPED)  # the same in every process, as the norm of the gradient is
        if self._processes > 1:
            read = _added(gather_object([read]))
        (counted,) = read.pop(COUNTED)
        return (self._means(read, counted) if counted else {}), round(skipped)

    def _means(self, sums: Mapping[str, list[float]], passes: float) -> dict[str, float]:
        """Return means; those by ranges of t only for ranges that were drawn."""
        means: dict[str, float] = {}
        for name, values in sums.items():
            if len(values) == 1:
                means[name] = values[0] / passes
                continue
            for level, (total, count) in enumerate(zip(values[:LEVELS], values[LEVELS:], strict=True)):
                if count:
                    means[name.removesuffix("t") + level_name(level, self._timesteps)] = total / count
        return means


def _added(parts: Sequence[Mapping[str, list[float]]]) -> dict[str, list[float]]:
    """Return the sums of all processes; what one of them alone reports is of it."""
    total: dict[str, list[float]] = {}
    for part in parts:
        for name, values in part.items():
            total[name] = [a + b for a, b in zip(total.get(name, [0.0] * len(values)), values, strict=True)]
    return total
