"""Predictions of the steps of a sampling, eager or as replays of one CUDA graph."""

from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.console import messages
from tunemv3d_core.cuda_graph import CapturedStep
from tunemv3d_core.guidance import Branches, Denoises
from tunemv3d_core.slots import Prediction
from tunemv3d_core.types import Rendering

WARM_UP = 1
"""Eager steps before a capture, and after whatever but latents and noise levels has changed."""


class _Settings(NamedTuple):
    """What a captured step holds for good."""

    branches: Branches
    consistency: float
    shape: torch.Size
    dtype: torch.dtype

    def are(self, other: "_Settings") -> bool:
        """Tell whether a step with these can be one with others; text is compared by identity."""
        return self.branches is other.branches and self[1:] == other[1:]


class EagerPredictions:
    """Predicts the steps of one sampling.

    Args:
        model: the model.
        cameras: ``b n``.
    """

    def __init__(self, model: Denoises, cameras: Cameras) -> None:
        self._model, self._cameras = model, cameras

    def __call__(self, branches: Branches, x_t: Tensor, t: Tensor, consistency: float) -> Prediction:
        """Return the combined prediction of ``b n c h w`` at t ``b n``."""
        return branches.predict(self._model, x_t, t, self._cameras, consistency)

    def close(self) -> None:
        """Free what was kept from step to step."""


class CapturedPredictions(EagerPredictions):
    """Predicts the steps of one sampling: a step that differs from the last in latents and noise levels is replayed.

    What components cannot have captured goes on eagerly, after one line that says so.

    Args:
        model: on a CUDA device, all of it.
        cameras: ``b n``.
    """

    def __init__(self, model: Denoises, cameras: Cameras) -> None:
        super().__init__(model, cameras)
        self._stream = torch.cuda.Stream(cameras.intrinsics.device)  # type: ignore[no-untyped-call]
        self._settings: _Settings | None = None
        self._step: CapturedStep[Prediction] | None = None
        self._is_eager = False

    def __call__(self, branches: Branches, x_t: Tensor, t: Tensor, consistency: float) -> Prediction:
        """Return the prediction in tensors of its own, without the scene, whose tensors are the graph's."""
        if self._is_eager:
            return super().__call__(branches, x_t, t, consistency)
        settings = _Settings(branches, consistency, x_t.shape, x_t.dtype)
        if self._settings is None or not settings.are(self._settings):
            self.close()
            self._settings = settings
            self._step = CapturedStep(self._predict, WARM_UP, self._go_on_eagerly, self._stream)
        assert self._step is not None
        return _copied(self._step({"x_t": x_t, "t": t}))

    def close(self) -> None:
        """Free the graph's memory."""
        if self._step is not None:
            self._step.close()

    def _predict(self, inputs: dict[str, Tensor]) -> Prediction:
        assert self._settings is not None
        return super().__call__(self._settings.branches, inputs["x_t"], inputs["t"], self._settings.consistency)

    def _go_on_eagerly(self, reason: str) -> None:
        self._is_eager = True
        reason = reason.strip().partition("\n")[0]
        messages.print(f"sampling without a CUDA graph, slower: {reason}", style="yellow", soft_wrap=True)


def _copied(prediction: Prediction) -> Prediction:
    """Copy the tensors of a prediction and of its renderings, which the next replay overwrites."""
    copies = {f.name: _copy(getattr(prediction, f.name)) for f in fields(prediction)}
    return replace(prediction, **copies | {"scene": None})


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Rendering):
        return replace(value, **{f.name: _copy(getattr(value, f.name)) for f in fields(value)})
    return value
