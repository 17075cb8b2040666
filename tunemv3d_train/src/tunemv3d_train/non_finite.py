"""Steps whose gradient is not finite: they reach no weight, are counted on the device, and their batch is kept.

Nothing here waits for the device within a step, so that a CUDA graph can hold it. What was counted is read when the
losses are read.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tunemv3d_core.finite import all_finite
from tunemv3d_train.batch_sampler import BatchPlan
from tunemv3d_train.optimisation import skips_by_itself
from tunemv3d_train.sharding import summed


class GradientGuard:
    """Guard of the weights against gradients that are not finite.

    Fused kernels of torch read ``optimizer.found_inf`` as torch's loss scaler sets it, and where it is 1 leave weights,
    moments and their count of steps as they are. Before a step of any other optimizer the device is waited for.

    Args:
        optimizers: of the run.
        device: of its parameters.
        scaled: whether a loss scaler does the same by itself (fp16), and a skipped step is nothing unusual.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], device: torch.device, scaled: bool) -> None:
        self.scaled = scaled
        self.found_inf = torch.zeros((), device=device)
        self._step = torch.zeros((), dtype=torch.int64, device=device)
        self._first = torch.full((), -1, dtype=torch.int64, device=device)
        for optimizer in () if scaled else optimizers:
            if skips_by_itself(optimizer):
                optimizer.found_inf = self.found_inf  # type: ignore[attr-defined]

    def begin(self, step: int) -> None:
        """Tell the number of the step that follows. Outside a captured step, which reads it from the device."""
        self._step.fill_(step)
        self.found_inf.zero_()

    def watch(self, norm: Tensor) -> None:
        """Look at the norm of a step's gradient, before the optimizer's step."""
        bad = ~norm.detach().isfinite().reshape(())
        self.found_inf.copy_(bad)
        self._first.copy_(torch.where(bad & (self._first < 0), self._step, self._first))

    def forbids(self, optimizer: torch.optim.Optimizer) -> bool:
        """Tell whether a step that was watched must not be taken, of an optimizer that does not see to that itself."""
        return not self.scaled and not skips_by_itself(optimizer) and bool(self.found_inf)

    def first(self) -> int:
        """Return the first step with such a gradient since the last call, and forget it. Waits for the device."""
        step = int(self._first)
        self._first.fill_(-1)
        return step


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the norm of all gradients together, without waiting for the device."""
    return summed(torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))


def keep_batch(path: Path, plan: BatchPlan, batch: Mapping[str, Tensor]) -> None:
    """Write a batch for study: its tensors, and as metadata the objects, views and captions that were drawn."""
    drawn = {name: repr(getattr(plan, name)) for name in ("objects", "views", "captions", "seed")}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.cpu().contiguous() for name, tensor in batch.items()}, path, metadata=drawn)


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of tensors that hold numbers that are not finite. Waits for the device once."""
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if not floating:
        return []
    flags = torch.stack([all_finite(tensor) for tensor in floating.values()]).tolist()
    return [name for name, whole in zip(floating, flags, strict=True) if not whole]
