"""One training loop for both stages: bfloat16 working weights, float32 masters, an average, and a captured step."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tunemv3d_core.io.atomic import atomic_file

CHUNK = 20
"""Steps between two looks at the clock; the device is waited for only then."""


@dataclass(frozen=True)
class Plan:
    """Plan of a stage: how long it trains, and how.

    Attributes:
        steps: optimizer steps; ignored where ``seconds`` is given.
        seconds: time to train; the learning rate's course follows the clock then.
        lr: highest learning rate; linear warm-up, then half a cosine down to a fiftieth.
        warmup: steps of warm-up.
        average: decay of the weights' exponential average; less at the start.
        decay: weight decay.
        every: seconds between checkpoints.
    """

    steps: int
    seconds: float | None
    lr: float
    warmup: int = 200
    average: float = 0.999
    decay: float = 1e-3
    every: float = 60.0


@dataclass
class Record:
    """Record of what a stage has done so far, over all its starts."""

    steps: int = 0
    seconds: float = 0.0
    progress: float = 0.0
    loss: float = math.nan


class Trainer:
    """Train ``module`` on ``loss()``, a scalar that draws its own batch and never waits for the device.

    Args:
        module: its parameters become bfloat16 on a GPU; the masters stay float32.
        loss: the loss of a fresh batch.
        plan: length and learning rate.
        capture: record the step once as a CUDA graph and replay it.
    """

    def __init__(self, module: nn.Module, loss: Callable[[], Tensor], plan: Plan, capture: bool) -> None:
        self.module, self.loss, self.plan, self.record = module, loss, plan, Record()
        self.names = [name for name, _ in module.named_parameters()]
        self.masters = [p.detach().clone().float().requires_grad_() for p in module.parameters()]
        self.means = [p.detach().clone() for p in self.masters]
        self.device = self.masters[0].device
        on_gpu = self.device.type == "cuda"
        self.capture = capture and on_gpu
        if on_gpu:
            module.to(torch.bfloat16)
        self.working = list(module.parameters())
        for master in self.masters:
            master.grad = torch.zeros_like(master)
        self.lr, self.mean_rate, self.loss_sum = (torch.zeros((), device=self.device) for _ in range(3))
        self.optimizer = torch.optim.AdamW(
            self.masters, lr=self.lr, betas=(0.9, 0.99), weight_decay=plan.decay, fused=True, capturable=on_gpu
        )

    def run(self, save: Callable[[], None], say: Callable[[str], None] = print) -> Record:
        """Train to the plan's end; call ``save`` about every ``plan.every`` seconds on the way.

        Raises:
            FloatingPointError: the loss is no finite number; nothing is saved then.
        """
        step, done = self._step, self.record
        begun, before, start, saved = time.monotonic(), done.progress, done.seconds, time.monotonic()
        while done.progress < 1:
            left = CHUNK if self.plan.seconds else min(CHUNK, self.plan.steps - done.steps)
            self._set_rates()
            if self.capture and step == self._step:
                step, left = self._captured(), 4
            else:
                for _ in range(left):
                    step()
            done.loss = float(self.loss_sum) / left
            self.loss_sum.zero_()
            if not math.isfinite(done.loss):
                raise FloatingPointError(f"the loss became {done.loss} after {done.steps} steps")
            now = time.monotonic()
            done.steps += left
            done.seconds = start + now - begun
            share = (now - begun) / self.plan.seconds if self.plan.seconds else done.steps / self.plan.steps
            done.progress = min(1.0, before + (1 - before) * share if self.plan.seconds else share)
            if done.steps % (10 * CHUNK) < left or done.progress >= 1:
                speed = done.steps / done.seconds
                say(f"  step {done.steps:6d}  {done.progress:6.1%}  loss {done.loss:.4f}  {speed:.1f} steps/s")
            if now - saved >= self.plan.every and done.progress < 1:
                save()
                saved = time.monotonic()
        return done

    def averaged(self) -> dict[str, Tensor]:
        """Return the average of the weights, by parameter name, float32."""
        return dict(zip(self.names, self.means, strict=True))

    def save(self, path: Path) -> None:
        """Write everything that ``restore`` needs, beside the target and renamed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"masters": self.masters, "means": self.means, "optimizer": self.optimizer.state_dict()}
        with atomic_file(path) as beside:
            torch.save({**content, "record": asdict(self.record), "random": _random_state(self.device)}, beside)

    def restore(self, path: Path) -> None:
        """Continue from a saved state."""
        content = torch.load(path, map_location=self.device, weights_only=True)
        with torch.no_grad():
            for targets, values in ((self.masters, content["masters"]), (self.means, content["means"])):
                for target, value in zip(targets, values, strict=True):
                    target.copy_(value)
            for working, master in zip(self.working, self.masters, strict=True):
                working.copy_(master)
        self.optimizer.load_state_dict(content["optimizer"])
        self.optimizer.param_groups[0]["lr"] = self.lr
        self.record = Record(**content["record"])
        _set_random_state(self.device, content["random"])

    def _set_rates(self) -> None:
        warm = min(1.0, (self.record.steps + 1) / self.plan.warmup)
        cosine = 0.51 + 0.49 * math.cos(math.pi * self.record.progress)
        self.lr.fill_(self.plan.lr * warm * cosine)
        self.mean_rate.fill_(max(1 - self.plan.average, 10 / (10 + self.record.steps)))

    def _step(self) -> None:
        loss = self.loss()
        gradients = torch.autograd.grad(loss, self.working)
        with torch.no_grad():
            torch._foreach_copy_([master.grad for master in self.masters], gradients)
            nn.utils.clip_grad_norm_(self.masters, 1.0, foreach=True)
            self.optimizer.step()
            torch._foreach_copy_(self.working, self.masters)
            difference = torch._foreach_sub(self.masters, self.means)
            torch._foreach_mul_(difference, self.mean_rate)
            torch._foreach_add_(self.means, difference)
            self.loss_sum += loss.detach()

    def _captured(self) -> Callable[[], None]:
        """Record the step: four steps on a side stream first, which also create the optimizer's state."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        return graph.replay


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state.cpu(), device)
    else:
        torch.set_rng_state(state.cpu())
