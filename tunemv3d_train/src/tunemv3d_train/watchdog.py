"""What is silently wrong with a run: an injector that stays at zero, a frozen model that has changed, a field that has
collapsed.
"""

import math

import torch
from torch import Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion

PATIENCE = 20
"""Steps after which an injector that began at zero should have left it: its gradient is there from the first one."""

COLLAPSED = 100
"""Steps over which a field is without a surface, or all opaque, before it is told."""

SHARE = 0.05
"""Share of the objects' pixels below which a field's opacity is no surface; so for what is clear around them."""

SHARPEST = 1e5
"""Inverse width of a surface, per world unit, far beyond what any picture shows: 1e3 is the width of a pixel."""

OPACITY, ALPHA = "watched/opacity", "watched/alpha"
"""Names of two means beside a step's losses: of the field's opacity and of the pictures' alpha."""


class Watchdog:
    """Looks at the model when a checkpoint is written, at figures when losses are read, and says each thing once.

    Args:
        model: as the run begins or goes on.
        done: steps that are done.
        eikonal: whether a loss keeps the gradient of the field's distances at 1. Where none does, their scale is free,
            and a small inv_s is no wide surface.
    """

    def __init__(self, model: MultiviewDiffusion, done: int = 0, eikonal: bool = True) -> None:
        self._model, self._eikonal = model, eikonal
        with torch.no_grad():
            self._frozen = self._sums()
            self._widths = self._log_widths()
        self._told: set[str] = set()
        self._began, self._read_at = done, done
        self._state, self._since = "", done

    def read(self, done: int, means: dict[str, float]) -> list[str]:
        """Take opacity and alpha out of the means since the last reading, and return what they tell that is new."""
        opacity, alpha = means.pop(OPACITY, None), means.pop(ALPHA, None)
        if opacity is None or alpha is None:
            return []
        state = ""
        if opacity < SHARE * alpha:
            state = "empty"
        elif 1 - opacity < SHARE * (1 - alpha):
            state = "opaque"
        if state != self._state:
            self._state, self._since = state, self._read_at
        self._read_at = done
        if not state or done - self._since < COLLAPSED:
            return []
        covers = f"its opacity is {opacity:.3f} on average, where the objects cover {alpha:.3f} of the pictures"
        shows = "no surface" if state == "empty" else "no object before the ground: everything is opaque"
        sentence = (
            f"since step {self._since} the field shows {shows} ({covers}). It rarely comes back by itself: start anew "
            "with loss.mask at 0.1 or more, or with a lower optimizer.parts.field.lr_scale"
        )
        return self._new({state: sentence})

    @torch.no_grad()
    def look(self, done: int) -> list[str]:
        """Return what has come to light after ``done`` steps and was not told before, as sentences."""
        found: dict[str, str] = {}
        if done >= PATIENCE and self._injector_is_zero():
            found["injector"] = (
                f"after {done} steps the injector is still zero, so that the views are those of the frozen model: is "
                "its learning rate 0 (optimizer.lr, optimizer.parts), or loss.denoise?"
            )
        if self._sums() != self._frozen:
            found["frozen"] = "the frozen model's weights have changed during training: some component writes to them"
        return self._new(found | self._surface(done))

    def _new(self, found: dict[str, str]) -> list[str]:
        new = [sentence for name, sentence in found.items() if name not in self._told]
        self._told |= found.keys()
        return new

    def _surface(self, done: int) -> dict[str, str]:
        """What is wrong with the width of a field's surface, 1 / inv_s with inv_s = exp(10 v) as in NeuS."""
        found = {}
        for name, log in self._log_widths().items():
            if done - self._began >= PATIENCE and log == self._widths[name]:
                found["stuck"] = (
                    f"after {done - self._began} steps {name} is what it was, so that the surface gets no sharper: "
                    "is its learning rate 0 (optimizer.parts)?"
                )
            if log > math.log(SHARPEST) or (log < 0 and self._eikonal):
                found["width"] = (
                    f"the field's inv_s = exp(10 {name}) is {math.exp(min(log, 99)):.3g}, "
                    f"{'sharper than any picture' if log > 0 else 'wider than the object'}: lower "
                    "optimizer.parts.field.lr_scale, or start anew from an earlier checkpoint with train.start_from"
                )
        return found

    def _log_widths(self) -> dict[str, float]:
        """Return log inv_s of fields with a surface, by the parameter's name."""
        named = self._model.named_parameters()
        return {
            n: 10 * float(p) for n, p in named if n.startswith("field.") and n.endswith(".variance") and p.dim() == 0
        }

    def _injector_is_zero(self) -> bool:
        parameters = self._of("injector")
        return bool(parameters) and not any(bool(parameter.any()) for parameter in parameters)

    def _sums(self) -> list[float]:
        """Return the sum of every frozen tensor. Waits for the device once."""
        sums = [p.sum(dtype=torch.float64) for p in self._of("backbone") if not p.requires_grad]
        return torch.stack(sums).tolist() if sums else []

    def _of(self, slot: str) -> list[Tensor]:
        return [p for name, p in self._model.named_parameters() if name.startswith(f"{slot}.")]
