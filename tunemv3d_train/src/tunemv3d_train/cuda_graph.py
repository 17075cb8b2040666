"""Capture of the whole training step as one CUDA graph: one call launches its kernels instead of thousands."""

import warnings
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.console import messages
from tunemv3d_core.errors import TuneMV3DWarning

Tensors = dict[str, Tensor]

WARMUP_STEPS = 11
"""Real steps on the capturing stream before the capture: lazy initialisations, allocator, autotuning."""


class CapturedStep:
    """Training step that runs eagerly at first, is then captured, and replayed with refilled inputs.

    If the capture fails, training goes on eagerly after one warning: nothing of a failed capture was executed.

    Args:
        step: the whole step, from tensors to tensors. It must not wait for the device, must keep every tensor that
            survives it in place, and must leave no gradients behind (``zero_grad(set_to_none=True)`` at its end).
        forget: drops what a failed capture may have left behind, such as gradients in the graph's memory.
    """

    def __init__(self, step: Callable[[Tensors], Tensors], forget: Callable[[], None]) -> None:
        self._step, self._forget = step, forget
        self._stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._calls = 0
        self._inputs: Tensors = {}
        self._outputs: Tensors = {}
        self._graph: torch.cuda.CUDAGraph | None = None
        self._failed = False

    def __call__(self, batch: Tensors) -> Tensors:
        """Run one step. The next call overwrites the tensors of the result."""
        if self._failed:
            return self._step(batch)
        self._refill(batch)
        if self._graph is None and self._calls >= WARMUP_STEPS:
            self._capture()
        if self._graph is not None:
            self._graph.replay()
            return self._outputs
        self._calls += 1
        return self._step(batch) if self._failed else self._on_stream()

    def give_up(self, reason: str) -> None:
        """Run every step from here on eagerly, and say why."""
        self._failed, self._graph, self._outputs = True, None, {}
        warnings.warn(
            f"the training step cannot be captured as a CUDA graph and runs eagerly, slower: {reason}. "
            "Set train.cuda_graph to false to silence this",
            TuneMV3DWarning,
            stacklevel=2,
        )

    def close(self) -> None:
        """Drop the graph: what sums over processes can only end once no graph holds its sums."""
        self._graph, self._outputs = None, {}

    def _refill(self, batch: Tensors) -> None:
        if not self._inputs:
            self._inputs = {name: tensor.clone() for name, tensor in batch.items()}
        for name, tensor in batch.items():
            self._inputs[name].copy_(tensor, non_blocking=True)

    def _on_stream(self) -> Tensors:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = self._step(self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def _capture(self) -> None:
        graph, outside = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Threads that watch over other processes are no part of the step.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._outputs = self._step(self._inputs)
        except Exception as error:
            torch.cuda.set_stream(outside)
            self._forget()
            _renew_generator()
            self.give_up(str(error))
            return
        self._graph = graph


def _renew_generator() -> None:
    """Give the device's random generator a fresh state: a failed capture leaves the old one waiting for its end."""
    device = torch.cuda.current_device()
    fresh = torch.Generator(device=f"cuda:{device}")
    torch.cuda.default_generators[device].graphsafe_set_state(fresh.graphsafe_get_state())


def capturable(spec: RunSpec, accelerator: Accelerator, unfit: str | None = None) -> bool:
    """Tell whether the step runs as a CUDA graph; says why not where the spec asks for it in vain.

    Args:
        spec: of the run.
        accelerator: device, precision, processes.
        unfit: name of an optimizer that cannot be in one.
    """
    if not spec.train.cuda_graph:
        return False
    reasons = {
        "there is no GPU": accelerator.device.type != "cuda",
        "weights lie in shards": accelerator.num_processes > 1 and spec.train.parallel == "fsdp2",
        "train.accumulate is not 1": spec.train.accumulate != 1,
        "fp16 scales its loss on the host": spec.train.precision == "fp16",
        f"{unfit} is not an optimizer that can be captured": unfit is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            messages.print(f"train.cuda_graph: off, because {reason}", style="yellow")
            return False
    return True
