"""What is silently wrong with a run: an injector that stays at zero, a frozen model that has changed."""

import torch
from torch import Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion

PATIENCE = 20
"""Steps after which an injector that began at zero should have left it: its gradient is there from the first one."""


class Watchdog:
    """Looks at the model when a checkpoint is written, and says each thing once.

    Args:
        model: as the run begins or goes on.
    """

    def __init__(self, model: MultiviewDiffusion) -> None:
        self._model = model
        with torch.no_grad():
            self._frozen = self._sums()
        self._told: set[str] = set()

    @torch.no_grad()
    def look(self, done: int) -> list[str]:
        """Return what has come to light after ``done`` steps and was not told before, as sentences."""
        found = {}
        if done >= PATIENCE and self._injector_is_zero():
            found["injector"] = (
                f"after {done} steps the injector is still zero, so that the views are those of the frozen model: is "
                "its learning rate 0 (optimizer.lr, optimizer.lr_scale), or loss.denoise?"
            )
        if self._sums() != self._frozen:
            found["frozen"] = "the frozen model's weights have changed during training: some component writes to them"
        new = [sentence for name, sentence in found.items() if name not in self._told]
        self._told |= found.keys()
        return new

    def _injector_is_zero(self) -> bool:
        parameters = self._of("injector")
        return bool(parameters) and not any(bool(parameter.any()) for parameter in parameters)

    def _sums(self) -> list[float]:
        """Return the sum of every frozen tensor. Waits for the device once."""
        sums = [p.sum(dtype=torch.float64) for p in self._of("backbone") if not p.requires_grad]
        return torch.stack(sums).tolist() if sums else []

    def _of(self, slot: str) -> list[Tensor]:
        return [p for name, p in self._model.named_parameters() if name.startswith(f"{slot}.")]
