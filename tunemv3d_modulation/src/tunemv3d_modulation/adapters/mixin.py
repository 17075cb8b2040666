"""Loading of LoRA and textual inversions by diffusers' names, for the backbone and for the pipeline."""

from collections.abc import Sequence
from typing import Any

from tunemv3d_modulation.adapters.loader import Adapters, Source


class AdaptersMixin:
    """The part of a class with ``adapters`` that loads LoRA and textual inversions on top of the frozen 2D model.

    Only the frozen model is changed, as with a ControlNet in diffusers: the trained copy of its encoder stays.
    """

    adapters: Adapters

    def load_lora_weights(
        self, source: Source, adapter_name: str | None = None, weight_name: str | None = None
    ) -> None:
        """Load a LoRA and turn it on with weight 1, beside those that are on.

        Args:
            source: a .safetensors file, a folder, a hub id, ``owner/name/file.safetensors``, or tensors by name.
            adapter_name: for ``set_adapters``, one word; default: lora-0, lora-1 and so on.
            weight_name: the file in the folder or repository, where there are several.

        Raises:
            ComponentError: it cannot be read, is another method than LoRA, LoCon, LoHa, LoKr and DoRA, or was made for
                another model; nothing is changed then.
        """
        self.adapters.load(source, adapter_name, weight_name)

    def set_adapters(self, adapter_names: str | Sequence[str], adapter_weights: Any = None) -> None:
        """Turn these LoRA on and all others off.

        Args:
            adapter_names: of loaded ones.
            adapter_weights: one for all or one each, 1 by default; numbers, or weights by block as in diffusers.

        Raises:
            ComponentError: one that is not loaded, or not one weight for each.
        """
        self.adapters.set(adapter_names, adapter_weights)

    def get_active_adapters(self) -> list[str]:
        """Return the names of the LoRA that are on."""
        return self.adapters.active

    def unload_lora_weights(self) -> None:
        """Take out every LoRA; the 2D model is what it was, bit for bit."""
        self.adapters.unload()

    def load_textual_inversion(self, source: Source, token: str | None = None, weight_name: str | None = None) -> None:
        """Load a textual inversion: prompts may use its word.

        Args:
            source: a .safetensors file, a folder, a hub id, or tensors by name.
            token: its word; default: the file's own, or the file's name.
            weight_name: the file in the folder or repository, where there are several.

        Raises:
            ComponentError: it cannot be read, its word is taken, or it was made for another model.
        """
        self.adapters.load_embedding(source, token, weight_name)
