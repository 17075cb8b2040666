"""Classifier-free guidance: a step's branches without and with text, and how they are combined."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Backbone, Prediction, Scene
from tunemv3d_core.types import Rendering, Text


class Denoises(Protocol):
    """The part of a ``MultiviewDiffusion`` that sampling needs."""

    @property
    def backbone(self) -> Backbone:
        """The frozen 2D model."""
        ...

    @property
    def is_captured(self) -> bool:
        """Whether the steps of a sampling are replays of a CUDA graph, unless a capture fails."""
        ...

    def predict(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras, consistency: float = 1.0) -> Prediction:
        """See ``MultiviewDiffusion.predict``."""
        ...

    def fuse(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Scene:
        """See ``MultiviewDiffusion.fuse``."""
        ...


@dataclass(frozen=True)
class Branches:
    """The branches of a step.

    Attributes:
        text: b prompts, or 2 b: those to move away from, then the prompts.
        guidance: scale; at most 1 runs the branch with text alone.
        rescale: how much of the guided prediction's spread is made that of the branch with text, 0 to 1 (Lin et al.
            2023, "Common diffusion noise schedules and sample steps are flawed", 3.4).
    """

    text: Text
    guidance: float
    rescale: float = 0.0

    def predict(self, model: Denoises, x_t: Tensor, t: Tensor, cameras: Cameras, consistency: float) -> Prediction:
        """Return the combined prediction of ``b n c h w`` at t ``b n``; x0 and rendering are those with text."""
        if self.guidance <= 1:
            with_text = self.text.map(lambda z: z[-x_t.shape[0] :])
            return model.predict(x_t, t, with_text, cameras, consistency)
        both = torch.cat([x_t, x_t]), torch.cat([t, t])
        prediction = model.predict(*both, self.text, Cameras.cat([cameras, cameras]), consistency)
        return self._combine(prediction)

    def _combine(self, prediction: Prediction) -> Prediction:
        without, with_text = prediction.modulated.chunk(2)
        guided = without + self.guidance * (with_text - without)
        if self.rescale:
            view = (2, 3, 4)
            alike = guided * (with_text.std(view, keepdim=True) / guided.std(view, keepdim=True))
            guided = self.rescale * alike + (1 - self.rescale) * guided
        if prediction.x0 is None or prediction.rendering is None:
            return Prediction(guided)
        seen = prediction.rendering
        values, opacity, depth = (z.chunk(2)[1] for z in (seen.values, seen.opacity, seen.depth))
        return Prediction(guided, prediction.x0.chunk(2)[1], Rendering(values, opacity, depth))
