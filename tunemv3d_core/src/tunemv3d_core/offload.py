"""Keep on the accelerator only the part of a model that is at work, for models that do not fit there whole.

Either whole parts take turns (text encoder, denoiser, autoencoder) or single layers do. The field stays on the
accelerator in both cases, because scenes are rendered at any time, and so do parts that own no weights.
"""

from typing import Any

import torch
from torch import nn

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import Offloadable


class Offload:
    """Where the parts of a model are while they take turns on an accelerator. ``remove`` ends it.

    Args:
        model: the model; its ``offload`` becomes this object.
        device: the accelerator.

    Raises:
        ComponentError: accelerate is not installed, or the backbone is not ``Offloadable``.
    """

    def __init__(self, model: MultiviewDiffusion, device: torch.device) -> None:
        check_can_offload(model)
        if model.offload is not None:
            model.offload.remove()
        self.model, self.device = model, device
        model.to("cpu")
        for part in self.small_parts():
            part.to(device)
        model.offload = self

    def small_parts(self) -> list[nn.Module]:
        """List what is on the accelerator all the time."""
        backbone: Any = self.model.backbone
        field: Any = self.model.field
        return [part for part in backbone.children() if not has_weights(part)] + ([] if field is None else [field])

    def begin_step(self) -> None:
        """Bring what denoises to the accelerator, and take the others off it."""

    def release(self) -> None:
        """Take off the accelerator whatever came there for its turn."""

    def remove(self) -> None:
        """Undo it; everything is on the CPU then."""
        self.model.offload = None
        self.model.to("cpu")


class Denoiser(nn.Module):
    """All parts of a model that work in a denoising step, but its field, as one module that computes nothing itself.

    Args:
        model: with a backbone that is ``Offloadable``.
    """

    def __init__(self, model: MultiviewDiffusion) -> None:
        super().__init__()
        backbone: Any = model.backbone
        others = backbone.offloadable()
        parts = [part for part in backbone.children() if all(part is not other for other in others)]
        parts += [part for slot, part in model.slots().items() if slot not in ("backbone", "field")]
        self.parts = nn.ModuleList(part for part in parts if has_weights(part))

    def forward(self) -> None:
        """Do nothing; a hook on this module brings the parts to the accelerator before it."""


class PartOffload(Offload):
    """Whole parts take turns: text encoder, denoiser and autoencoder."""

    def __init__(self, model: MultiviewDiffusion, device: torch.device) -> None:
        super().__init__(model, device)
        from accelerate import cpu_offload_with_hook

        backbone: Any = model.backbone
        text_encoder, autoencoder = backbone.offloadable()
        self.denoiser = Denoiser(model)
        self._hooks: list[Any] = []
        for part in (text_encoder, self.denoiser, autoencoder):
            before = self._hooks[-1] if self._hooks else None
            self._hooks.append(cpu_offload_with_hook(part, device, prev_module_hook=before)[1])
        # A prompt may be encoded again after the steps, when finished views become a scene.
        self._hooks[0].hook.prev_module_hook = self._hooks[1]

    def begin_step(self) -> None:
        """Bring the denoiser to the accelerator, and take the others off it."""
        self._hooks[-1].offload()
        self.denoiser()

    def release(self) -> None:
        """Take all parts off the accelerator but the field."""
        for hook in self._hooks:
            hook.offload()

    def remove(self) -> None:
        """Undo it; everything is on the CPU then."""
        for hook in self._hooks:
            hook.offload()
            hook.remove()
        super().remove()


class LayerOffload(Offload):
    """Single layers of the backbone and the lifter take turns, each brought for its own forward pass."""

    def __init__(self, model: MultiviewDiffusion, device: torch.device) -> None:
        super().__init__(model, device)
        from accelerate import cpu_offload

        self._large = large_parts(model)
        # Put back in the end, because a lifter may share the backbone's.
        modules = [module for part in self._large for module in part.modules()]
        self._weights = [(module, dict(module._parameters)) for module in modules]
        for part in Denoiser(model).parts:
            if all(part is not other for other in self._large):
                part.to(device)
        for part in self._large:
            cpu_offload(part, device)

    def remove(self) -> None:
        """Undo it; everything is on the CPU then."""
        from accelerate.hooks import remove_hook_from_module

        for part in self._large:
            remove_hook_from_module(part, recurse=True)
        for module, weights in self._weights:
            module._parameters.update(weights)
        super().remove()


def large_parts(model: MultiviewDiffusion) -> list[nn.Module]:
    """List the parts whose layers are worth moving one by one: those of the backbone, and the lifter."""
    backbone: Any = model.backbone
    return [part for part in (*backbone.children(), model.lifter) if has_weights(part)]


def has_weights(part: Any) -> bool:
    """Tell whether a part of a model is a module with parameters."""
    return isinstance(part, nn.Module) and next(part.parameters(), None) is not None


def check_can_offload(model: MultiviewDiffusion) -> None:
    """Refuse a model whose parts cannot take turns.

    Raises:
        ComponentError: accelerate is not installed, or the backbone is not ``Offloadable``.
    """
    try:
        import accelerate  # noqa: F401
    except ImportError as error:
        raise ComponentError("offloading needs accelerate: pip install accelerate") from error
    if not isinstance(model.backbone, Offloadable):
        options = model.components.get("backbone")
        name = options.type if options else type(model.backbone).__name__
        raise ComponentError(
            f"backbone '{name}' cannot be offloaded part by part: it lacks the method offloadable() of "
            "tunemv3d_core.slots.Offloadable; keep the whole model on one device, as pipe.to('cuda') or --offload none "
            "do"
        )
