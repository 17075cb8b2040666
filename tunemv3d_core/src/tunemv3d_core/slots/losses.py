"""The interface of losses, and the data that they compare."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots.model import Scene
from tunemv3d_core.types import Rendering, Text


@dataclass(frozen=True)
class Prediction:
    """One denoising step's outcome. Without a field only ``modulated`` is there.

    Attributes:
        modulated: ``b n c h w``, in the backbone's prediction type.
        frozen: like ``modulated``: the frozen model's, where it was asked; without gradient.
        x0: ``b n v h w``: the field's prediction of the clean views, blended over the background.
        rendering: the input views as rendered.
        scene: what the field made of the views.
        novel_x0: ``b m v h w`` or ``b m v r``: the same for the novel cameras, blended over the background.
        novel: the novel cameras as rendered.
    """

    modulated: Tensor
    x0: Tensor | None = None
    rendering: Rendering | None = None
    scene: Scene | None = None
    novel_x0: Tensor | None = None
    novel: Rendering | None = None
    frozen: Tensor | None = None


@dataclass(frozen=True)
class Targets:
    """The truth that a training step compares a prediction with. Images are latents, masks have their resolution.

    Attributes:
        latents: ``b n c h w``, the input views' clean latents.
        alpha: ``b n h w`` in [0, 1], 1 inside the input views' objects.
        x_t: ``b n c h w``, the latents that the model was given.
        prediction: ``b n c h w``, what the backbone should predict of ``x_t`` (epsilon, v, sample or flow).
        t: ``b n``, 0 where a view is given clean; the noisy views of one object share one t.
        is_clean: ``b n`` boolean.
        text: b prompts.
        cameras: ``b n``.
        novel_cameras: ``b m``; this and what follows is None where no novel view is rendered.
        novel_pixels: ``b m r 2``, (x, y) as fractions, where the novel views are rendered at some pixels alone.
        novel_latents: like ``Prediction.novel_x0``, ``b m c h w`` or ``b m c r``.
        novel_alpha: ``b m h w`` or ``b m r``.
        maps: by name ``b n c h w``, what losses need of the dataset (``NeedsMaps``), averaged down to latent cells:
            depth and normals over the pixels that hit something, 0 where none does, all others over all pixels.
        novel_maps: the same of the novel cameras, ``b m c h w`` or ``b m c r``; empty where none is rendered.
    """

    latents: Tensor
    alpha: Tensor
    x_t: Tensor
    prediction: Tensor
    t: Tensor
    is_clean: Tensor
    text: Text
    cameras: Cameras
    novel_cameras: Cameras | None = None
    novel_pixels: Tensor | None = None
    novel_latents: Tensor | None = None
    novel_alpha: Tensor | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict)
    novel_maps: Mapping[str, Tensor] = field(default_factory=dict)


class Loss(Protocol):
    """A loss on what a training step predicts, beside the paper's; the spec weighs it (``loss.terms``).

    It is built by ``build(spec, context)``; its options derive from ``LossTermSpec``. It has nothing to learn: where it
    is a module, its parameters are frozen.
    """

    def __call__(self, prediction: Prediction, targets: Targets) -> Tensor:
        """One number per view, ``b n`` of the input views or ``b (n + m)`` with the novel ones after them; their mean
        is the loss.

        A view's number depends on no other view's targets, is a mean over cells and not a sum, and is finite, as its
        gradient is, for empty silhouettes, clean views and a prediction that is the truth.

        Raises:
            TuneMV3DError: the prediction lacks what it needs, such as a rendering. Asked before the first step.
        """
        ...


@runtime_checkable
class NeedsMaps(Loss, Protocol):
    """A loss that compares with depth, normals or other maps, which not every dataset has. Optional.

    A run with a dataset that lacks one of them (``HasMaps``) is refused before its first step.
    """

    needs: Collection[str]
    """Names of maps that it finds in ``Targets.maps`` and ``Targets.novel_maps``."""
