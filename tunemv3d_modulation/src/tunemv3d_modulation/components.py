"""The parts of the pipeline by diffusers' names, where they are, and how attention and autoencoder save memory."""

from typing import TYPE_CHECKING, Any

import torch
from diffusers.hooks import apply_group_offloading
from diffusers.models.attention_processor import Attention
from torch import nn

from tunemv3d_core.devices import find_device
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.offload import Denoiser, LayerOffload, Offload, PartOffload, large_parts

if TYPE_CHECKING:
    from tunemv3d_core.config.run_spec import RunSpec


class GroupOffload(Offload):
    """Single layers take turns, by diffusers' group offloading.

    Args:
        model: the model.
        device: the accelerator.
        options: of ``diffusers.hooks.apply_group_offloading``.
    """

    def __init__(self, model: MultiviewDiffusion, device: torch.device, options: dict[str, Any]) -> None:
        super().__init__(model, device)
        self._large = large_parts(model)
        for part in Denoiser(model).parts:
            if all(part is not other for other in self._large):
                part.to(device)
        for part in self._large:
            apply_group_offloading(part, onload_device=device, offload_type="leaf_level", **options)

    def remove(self) -> None:
        """Refuse: diffusers cannot undo it.

        Raises:
            TuneMV3DError: always.
        """
        raise TuneMV3DError("diffusers cannot undo group offloading: load the pipeline again")


class ComponentsMixin:
    """The part of ``TuneMV3DPipeline`` that concerns its components."""

    model: MultiviewDiffusion
    spec: "RunSpec"

    @property
    def vae(self) -> Any:
        """The backbone's autoencoder. Another one of the same kind may be put in its place."""
        return self.model.backbone.vae  # type: ignore[attr-defined]

    @vae.setter
    def vae(self, vae: nn.Module) -> None:
        self.model.backbone.vae = vae.requires_grad_(False)  # type: ignore[attr-defined]
        self.model.forget_background()

    @property
    def unet(self) -> Any:
        """The backbone's UNet."""
        return self.model.backbone.unet  # type: ignore[attr-defined]

    @property
    def text_encoder(self) -> Any:
        """The backbone's text encoder, of XL the first."""
        return self.model.backbone.prompts.encoders[0]  # type: ignore[attr-defined]

    @property
    def text_encoder_2(self) -> Any:
        """XL's second text encoder, else None."""
        encoders = self.model.backbone.prompts.encoders  # type: ignore[attr-defined]
        return encoders[1] if len(encoders) > 1 else None

    @property
    def tokenizer(self) -> Any:
        """The backbone's tokenizer, of XL the first."""
        return self.model.backbone.prompts.tokenizers[0]  # type: ignore[attr-defined]

    @property
    def tokenizer_2(self) -> Any:
        """XL's second tokenizer, else None."""
        tokenizers = self.model.backbone.prompts.tokenizers  # type: ignore[attr-defined]
        return tokenizers[1] if len(tokenizers) > 1 else None

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move to a device, cast to a dtype, or both; the field's parameters keep theirs.

        Raises:
            TuneMV3DError: the parts take turns on an accelerator.
        """
        dtype = next((value for value in (*args, kwargs.get("dtype")) if isinstance(value, torch.dtype)), None)
        rest = [value for value in args if not isinstance(value, torch.dtype)]
        kwargs.pop("dtype", None)
        if self.model.offload is not None:
            raise TuneMV3DError(
                "the parts of this pipeline take turns on the accelerator: call remove_all_hooks() before to()"
            )
        if rest or kwargs:
            super().to(*rest, **kwargs)  # type: ignore[misc]
        for slot, module in self.model.slots().items() if dtype is not None else ():
            if slot != "field":
                module.to(dtype)
        return self

    def enable_cuda_graph(self) -> None:
        """Replay the steps of a call as one CUDA graph, which spares the processor their thousands of launches.

        It is for a pipeline that is on a CUDA device as a whole; elsewhere it changes nothing. The first step and one
        after text, guidance or K have changed run eagerly, so that a K which changes in every step gains nothing. With
        components that wait for the device a call goes on eagerly, after one line that says so. Hooks in Python are not
        called in replays, and callbacks must not change the model (adapters, dtype, parts): replays would not see it.
        """
        self.model.cuda_graph = True

    def disable_cuda_graph(self) -> None:
        """Run every step eagerly."""
        self.model.cuda_graph = False

    def enable_model_cpu_offload(self, gpu_id: int | None = None, device: torch.device | str | None = None) -> None:
        """Keep on the accelerator only the part at work: text encoder, then denoiser, then autoencoder.

        Args:
            gpu_id: number of the accelerator.
            device: the accelerator; default: the one that is there.

        Raises:
            ComponentError: a backbone that is not ``tunemv3d_core.slots.Offloadable``.
            TuneMV3DError: there is no such device, or no accelerator.
        """
        PartOffload(self.model, _accelerator(gpu_id, device))

    def enable_sequential_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Keep on the accelerator only the layer at work: least memory, but slow. Arguments and errors as above."""
        LayerOffload(self.model, _accelerator(gpu_id, device))

    def enable_group_offload(
        self,
        onload_device: torch.device | str,
        offload_device: torch.device | str = "cpu",
        offload_type: str = "leaf_level",
        **options: Any,
    ) -> None:
        """Keep on the accelerator only the layer at work, by diffusers' group offloading, which cannot be undone.

        Args:
            onload_device: the accelerator.
            offload_device: where layers wait.
            offload_type: "leaf_level"; the UNet's two halves have no blocks that diffusers could find.
            options: further ones of ``diffusers.hooks.apply_group_offloading``.

        Raises:
            ComponentError: a backbone that is not ``tunemv3d_core.slots.Offloadable``.
            TuneMV3DError: another type, or there is no such device.
        """
        if offload_type != "leaf_level":
            raise TuneMV3DError(
                f"offload_type should be 'leaf_level', not {offload_type!r}: the UNet runs in two halves here, so that "
                "its blocks are no groups; enable_model_cpu_offload() moves whole parts"
            )
        device = find_device(str(onload_device))
        GroupOffload(self.model, device, {"offload_device": torch.device(offload_device), **options})

    def remove_all_hooks(self) -> None:
        """Undo model and sequential offloading; everything is on the CPU then."""
        if self.model.offload is not None:
            self.model.offload.remove()

    def maybe_free_model_hooks(self) -> None:
        """With ``enable_model_cpu_offload``, take all parts off the accelerator but the field, which scenes need."""
        if self.model.offload is not None:
            self.model.offload.release()

    @property
    def _execution_device(self) -> torch.device:
        """Device where tensors should be: the accelerator even while the model is off it."""
        return self.model.device

    def set_attention_slice(self, slice_size: str | int | None) -> None:
        """Compute the attention of UNet and lifter in slices of heads: less memory, slower.

        Args:
            slice_size: heads at once: "auto" for half of them, "max" for the least memory, a number, or None for all.

        Raises:
            TuneMV3DError: more heads than a layer has.
            ComponentError: the model has no attention of diffusers' kind.
        """
        # The autoencoder's attention has one head; without a UNet the backbone's layers are taken as they come.
        unet = getattr(self.model.backbone, "unet", self.model.backbone)
        layers = [layer for part in (unet, self.model.lifter) for layer in _attentions(part)]
        if not layers:
            raise ComponentError(f"backbone '{self.spec.model.backbone.type}' has no attention that can be sliced")
        fewest = min(layer.sliceable_head_dim for layer in layers)
        if isinstance(slice_size, int) and not 0 < slice_size <= fewest:
            raise TuneMV3DError(f"slice_size should be from 1 to {fewest}, the heads of the smallest layer")
        for layer in layers:
            halves = {"auto": max(1, layer.sliceable_head_dim // 2), "max": 1}
            layer.set_attention_slice(halves.get(slice_size, slice_size) if isinstance(slice_size, str) else slice_size)


def _attentions(part: Any) -> list[Any]:
    return [m for m in part.modules() if isinstance(m, Attention)] if isinstance(part, nn.Module) else []


def _accelerator(gpu_id: int | None, device: torch.device | str | None) -> torch.device:
    place = find_device("" if device is None else str(device))
    if device is None and place.type == "cpu":
        raise TuneMV3DError("offloading keeps parts of the model off an accelerator, and there is none here")
    return torch.device(place.type, gpu_id if gpu_id is not None else place.index)
