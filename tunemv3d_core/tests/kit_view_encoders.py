"""View encoders for the tests of the kit that fail at what their slot asks. Each docstring says how."""

from dataclasses import replace
from typing import Any

import torch
from kit_parts import ViewEncoder
from torch import Tensor, nn

from tunemv3d_core.types import Text


class MixesTheViews(ViewEncoder):
    """Adds the mean of an object's views to each."""

    def spoil(self, features: Tensor) -> Tensor:
        return features + 0.5 * features.mean(1, keepdim=True)


class NormalisesAcrossViews(ViewEncoder):
    """Its mean and deviation are those of all views of an object."""

    def spoil(self, features: Tensor) -> Tensor:
        return features / features.square().mean((1, 2, 3, 4), keepdim=True).add(1e-5).sqrt()


class NormalisesAcrossBatch(ViewEncoder):
    """Batch normalisation."""

    def begin(self) -> None:
        self.norm = nn.BatchNorm2d(self.ports.features)

    def spoil(self, features: Tensor) -> Tensor:
        return self.norm(features.flatten(0, 1)).unflatten(0, features.shape[:2])


class TransposesFeatures(ViewEncoder):
    """Rows are columns."""

    def spoil(self, features: Tensor) -> Tensor:
        return features.mT.flatten(3).unflatten(3, features.shape[-2:])


class MirrorsFeatures(ViewEncoder):
    """Top is bottom."""

    def spoil(self, features: Tensor) -> Tensor:
        return features.flip(-2)


class ShiftsFeatures(ViewEncoder):
    """Features lie one cell to the right."""

    def spoil(self, features: Tensor) -> Tensor:
        return features.roll(1, -1)


class FeaturesWithoutPlace(ViewEncoder):
    """One vector for a whole view."""

    def spoil(self, features: Tensor) -> Tensor:
        return features.mean((3, 4), keepdim=True).expand_as(features).contiguous()


class IgnoresTheView(ViewEncoder):
    """Looks at the noise level alone."""

    def forward(self, x_t: Tensor, *given: Any) -> Tensor:
        return super().forward(torch.zeros_like(x_t), *given)


class IgnoresForeground(ViewEncoder):
    """Asks for the frozen model's x0, and does not look at it."""

    def begin(self) -> None:
        self.ports = replace(self.ports, foreground_x0=True)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Any, foreground_x0: Tensor) -> Tensor:
        return super().forward(x_t, t, text, cameras)


class LooksAtNextForeground(IgnoresForeground):
    """Takes the x0 of the next view."""

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Any, foreground_x0: Tensor) -> Tensor:
        return ViewEncoder.forward(self, x_t + foreground_x0.roll(1, 1), t, text, cameras)


class ForegroundUpsideDown(IgnoresForeground):
    """The x0 stands on its head beside x_t."""

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Any, foreground_x0: Tensor) -> Tensor:
        return ViewEncoder.forward(self, x_t + foreground_x0.flip(-2), t, text, cameras)


class ClampsNoise(ViewEncoder):
    """Takes noisy latents for pictures in -1 to 1."""

    def forward(self, x_t: Tensor, *given: Any) -> Tensor:
        return super().forward(x_t.clamp(-1, 1), *given)


class KeepsTheTime(ViewEncoder):
    """Keeps the noise level of the first step, as long as the shape is the same."""

    def begin(self) -> None:
        self.kept: dict[Any, Tensor] = {}

    def forward(self, x_t: Tensor, t: Tensor, *given: Any) -> Tensor:
        level = self.kept.setdefault(t.shape, t)[..., None, None, None] / 1000
        return super().forward(x_t, t, *given) * (1 + level).to(x_t.dtype)


class PromptsInTurn(ViewEncoder):
    """Repeats all prompts in turn, not each for its object's views."""

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Any) -> Tensor:
        words = text.tokens.repeat(x_t.shape[1], 1, 1).mean((1, 2)).unflatten(0, x_t.shape[:2])
        return super().forward(x_t, t, text, cameras) + words[..., None, None, None]


class FirstObjectsTime(ViewEncoder):
    """Takes the first object's noise level for all."""

    def forward(self, x_t: Tensor, t: Tensor, *given: Any) -> Tensor:
        return super().forward(x_t, t, *given) * (1 + t[:1, :, None, None, None] / 1000).to(x_t.dtype)


class FirstCamera(ViewEncoder):
    """Tells every view by the first view's camera."""

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Any) -> Tensor:
        lens = cameras.camera_to_world[:, :1, 0, 3, None, None, None].to(x_t.dtype)
        return super().forward(x_t, t, text, cameras) + lens


class WholeTimesteps(ViewEncoder):
    """Looks t up in a table of whole numbers up to 999, counted from 1."""

    def begin(self) -> None:
        self.table = nn.Embedding(999, self.ports.features)

    def forward(self, x_t: Tensor, t: Tensor, *given: Any) -> Tensor:
        return super().forward(x_t, t, *given) + self.table(t.long() - 1)[..., None, None]


class PrintsShapes(ViewEncoder):
    """Left a line of debugging behind."""

    def spoil(self, features: Tensor) -> Tensor:
        print(features.shape)
        return features


class NaNNowAndThen(ViewEncoder):
    """Divides by a number that is drawn in training, and is zero in one of six steps."""

    def spoil(self, features: Tensor) -> Tensor:
        return features / (torch.rand((), device=features.device) > 1 / 6).to(features) if self.training else features


class Overflows(ViewEncoder):
    """Its softmax does not subtract the maximum."""

    def spoil(self, features: Tensor) -> Tensor:
        shares = (8 * features.float()).exp()
        return (shares / shares.sum(2, keepdim=True)).to(features.dtype)


class NeverEnds(ViewEncoder):
    """Waits for what never comes."""

    def spoil(self, features: Tensor) -> Tensor:
        while True:
            pass
