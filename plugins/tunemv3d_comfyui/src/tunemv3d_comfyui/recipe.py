"""What the loading nodes hand on: which model, not the model itself, so that no node changes what another one got."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Lora:
    """A LoRA on top of the 2D model.

    Attributes:
        file: a file, a folder or a hub id.
        weight: how much of it.
        changed: when the file was written, nanoseconds; 0 where it is no file.
    """

    file: str
    weight: float = 1.0
    changed: int = 0


@dataclass(frozen=True)
class ModelRecipe:
    """A model that can be loaded.

    Attributes:
        checkpoint: a packaged checkpoint's name, its folder or a run's folder.
        base: another pretrained 2D model; "" for the checkpoint's own.
        dtype: of ``tunemv3d_core.placement.Placement``.
        offload: likewise.
        changed: when the checkpoint was written, nanoseconds.
        loras: on top of it.
    """

    checkpoint: str
    base: str = ""
    dtype: str = "auto"
    offload: str = "none"
    changed: int = 0
    loras: tuple[Lora, ...] = ()

    def with_lora(self, lora: Lora) -> "ModelRecipe":
        """Return the recipe with one more LoRA."""
        return replace(self, loras=(*self.loras, lora))

    @property
    def files(self) -> "ModelRecipe":
        """The recipe without the weights of its LoRA, which are set on a loaded model."""
        return replace(self, loras=tuple(replace(lora, weight=1.0) for lora in self.loras))
