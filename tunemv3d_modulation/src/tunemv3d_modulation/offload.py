"""Keep on the accelerator only the part of a model that is at work."""

from typing import Any

import torch
from accelerate import cpu_offload_with_hook
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Backbone, Offloadable, Prediction, Scene
from tunemv3d_core.types import Text


class Denoiser(nn.Module):
    """The part of a model that works in a denoising step, as one module.

    That is the model without its backbone's text encoder and autoencoder, where the backbone is ``Offloadable``, and
    the whole model otherwise.

    Args:
        model: the model.
    """

    def __init__(self, model: MultiviewDiffusion) -> None:
        super().__init__()
        backbone: Any = model.backbone
        others = backbone.offloadable() if isinstance(backbone, Offloadable) else ()
        parts = [part for part in backbone.children() if all(part is not other for other in others)]
        self.parts = nn.ModuleList([*parts, *(m for slot, m in model.slots().items() if slot != "backbone")])
        # Not as a submodule: its text encoder and autoencoder stay where they are.
        self._whole = [model]

    @property
    def backbone(self) -> Backbone:
        """The model's backbone."""
        return self._whole[0].backbone

    def forward(self, method: str, *args: Any) -> Any:
        """Call a method of the model; a hook on this module brings the parts to the accelerator before it."""
        return getattr(self._whole[0], method)(*args)

    def predict(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras, consistency: float = 1.0) -> Prediction:
        """See ``MultiviewDiffusion.predict``."""
        prediction: Prediction = self("predict", x_t, t, text, cameras, consistency)
        return prediction

    def fuse(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Scene:
        """See ``MultiviewDiffusion.fuse``."""
        scene: Scene = self("fuse", x_t, t, text, cameras)
        return scene


def offload(backbone: Offloadable, denoiser: Denoiser, device: torch.device) -> list[Any]:
    """Hook the parts in the order in which they work; each takes the one before it off the accelerator.

    Args:
        backbone: the model's.
        denoiser: the same model's.
        device: the accelerator.

    Returns:
        accelerate's hooks, to offload and to remove.
    """
    text_encoder, autoencoder = backbone.offloadable()
    hooks: list[Any] = []
    for part in (text_encoder, denoiser, autoencoder):
        _, hook = cpu_offload_with_hook(part, device, prev_module_hook=hooks[-1] if hooks else None)
        hooks.append(hook)
    return hooks
