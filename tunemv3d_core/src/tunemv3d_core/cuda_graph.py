"""Capture of a step as one CUDA graph: one call launches its kernels instead of thousands."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor

Tensors = dict[str, Tensor]
Result = TypeVar("Result")


class CapturedStep(Generic[Result]):
    """A step that runs eagerly at first, is then captured, and replayed with refilled inputs.

    If the capture fails, it goes on eagerly: nothing of a failed capture was executed.

    Args:
        step: the whole step, from tensors to what holds tensors. It must not wait for the device, must keep every
            tensor that survives it in place, and must leave no gradients behind (``zero_grad(set_to_none=True)`` at
            its end).
        warm_up: real steps on the capturing stream before the capture: lazy initialisations, allocator, autotuning.
        failed: is told why the step cannot be captured, once; drops what a failed capture may have left behind, such
            as gradients in the graph's memory.
        stream: that captures, of the device where the tensors are.
    """

    def __init__(
        self,
        step: Callable[[Tensors], Result],
        warm_up: int,
        failed: Callable[[str], None],
        stream: torch.cuda.Stream,
    ) -> None:
        self._step, self._warm_up, self._tell_failed, self._stream = step, warm_up, failed, stream
        self._calls = 0
        self._inputs: Tensors = {}
        self._outputs: Result | None = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._failed = False

    def __call__(self, batch: Tensors) -> Result:
        """Run one step on tensors that are always alike. The next call overwrites the tensors of the result."""
        if self._failed:
            return self._step(batch)
        # Streams and captures are of the current device, which need not be the tensors'.
        with torch.cuda.device(self._stream.device):
            return self._run(batch)

    def _run(self, batch: Tensors) -> Result:
        self._refill(batch)
        if self._graph is None and self._calls >= self._warm_up:
            self._capture()
        if self._graph is not None and self._outputs is not None:
            self._graph.replay()
            return self._outputs
        self._calls += 1
        return self._step(batch) if self._failed else self._on_stream()

    def give_up(self, reason: str) -> None:
        """Run every step from here on eagerly, and say why."""
        self._failed = True
        self.close()
        self._tell_failed(reason)

    def close(self) -> None:
        """Drop the graph and its memory; the next call warms up no more, and captures anew."""
        self._graph, self._outputs = None, None

    def _refill(self, batch: Tensors) -> None:
        if not self._inputs:
            self._inputs = {name: tensor.clone() for name, tensor in batch.items()}
        for name, tensor in batch.items():
            self._inputs[name].copy_(tensor, non_blocking=True)

    def _on_stream(self) -> Result:
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            outputs = self._step(self._inputs)
        torch.cuda.current_stream().wait_stream(self._stream)
        return outputs

    def _capture(self) -> None:
        graph, outside, random = torch.cuda.CUDAGraph(), torch.cuda.current_stream(), torch.cuda.get_rng_state()
        try:
            # Other threads, such as a server's, are no part of the step.
            mode = "thread_local"
            with _no_garbage(), torch.cuda.graph(graph, stream=self._stream, capture_error_mode=mode):
                self._outputs = self._step(self._inputs)
        except Exception as error:
            torch.cuda.set_stream(outside)
            _renew_generator(random)
            self.give_up(str(error))
            return
        self._graph = graph


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Collect no garbage inside: another graph in it could not be freed during a capture, which would fail."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _renew_generator(state: Tensor) -> None:
    """Give the device's random generator its state anew: a failed capture leaves the old one waiting for its end."""
    device = torch.cuda.current_device()
    fresh = torch.Generator(device=f"cuda:{device}").set_state(state)
    torch.cuda.default_generators[device].graphsafe_set_state(fresh.graphsafe_get_state())
