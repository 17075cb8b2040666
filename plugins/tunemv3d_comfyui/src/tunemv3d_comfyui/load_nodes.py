"""The nodes that say which model: Load and LoRA. Light: torch comes when a node runs."""

from pathlib import Path
from typing import Any, ClassVar

from tunemv3d_comfyui import host
from tunemv3d_comfyui.recipe import Lora, ModelRecipe
from tunemv3d_core.cli.model_options import DTYPES, OFFLOADS
from tunemv3d_core.errors import TuneMV3DError

CATEGORY = "TuneMV3D"

MODEL = "TUNEMV3D_MODEL"
"""ComfyUI's name for what these nodes give: a ``ModelRecipe``."""

Inputs = dict[str, dict[str, tuple[Any, dict[str, Any]]]]


class TuneMV3DLoad:
    """Chooses a checkpoint. It is loaded when the first node samples with it, and stays until another one is."""

    DESCRIPTION = "A checkpoint of TuneMV3D: a packaged one, its folder, or a run's folder."
    CATEGORY = CATEGORY
    FUNCTION = "choose"
    RETURN_TYPES = (MODEL,)
    RETURN_NAMES = ("model",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs to ComfyUI."""
        base = "Where the pretrained 2D model is, or another one of its kind; empty: the one that the checkpoint names."
        dtype = "auto: what the model was trained in on an accelerator that is quick at it, else float32."
        offload = "What waits in the machine's memory: none, model (all parts but the one at work), sequential (slow)."
        return {
            "required": {
                "checkpoint": ("STRING", {"default": "chairs-mini", "tooltip": "A packaged name, or a folder."}),
            },
            "optional": {
                "base": ("STRING", {"default": "", "tooltip": base}),
                "dtype": (list(DTYPES), {"default": "auto", "tooltip": dtype}),
                "offload": (list(OFFLOADS), {"default": "none", "tooltip": offload}),
            },
        }

    @classmethod
    def VALIDATE_INPUTS(cls, checkpoint: str | None = None) -> bool | str:
        """Return True, or why there is no such checkpoint; a linked one is found out about when the node runs."""
        try:
            return checkpoint is None or _changed(checkpoint) >= 0
        except TuneMV3DError as error:
            return str(error)

    @classmethod
    def IS_CHANGED(cls, checkpoint: str | None = None, **others: Any) -> int:
        """Return another number after a run has written a newer checkpoint."""
        return 0 if checkpoint is None else _changed(checkpoint)

    def choose(self, checkpoint: str, base: str = "", dtype: str = "auto", offload: str = "none") -> tuple[ModelRecipe]:
        """Return the recipe.

        Raises:
            CheckpointError: no checkpoint of this name.
        """
        return (ModelRecipe(checkpoint.strip(), base.strip(), dtype, offload, _changed(checkpoint)),)


class TuneMV3DLora:
    """Adds a LoRA. The model that comes in stays without it, for other nodes."""

    DESCRIPTION = "LoRA on top of the 2D model. Further ones go after it."
    CATEGORY = CATEGORY
    FUNCTION = "add"
    RETURN_TYPES = (MODEL,)
    RETURN_NAMES = ("model",)
    WEIGHT: ClassVar[dict[str, Any]] = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05}

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """Describe the inputs to ComfyUI."""
        file = "A file in ComfyUI's folder models/loras, or any file, folder or hub id."
        return {
            "required": {
                "model": (MODEL, {}),
                "file": ("STRING", {"default": "", "tooltip": file}),
                "weight": ("FLOAT", {**cls.WEIGHT, "tooltip": "How much of it; 0 is none."}),
            }
        }

    @classmethod
    def IS_CHANGED(cls, file: str | None = None, **others: Any) -> int:
        """Return another number after the file was written anew."""
        return 0 if file is None else _written(host.lora_file(file.strip()))

    def add(self, model: ModelRecipe, file: str, weight: float) -> tuple[ModelRecipe]:
        """Return the recipe with the LoRA.

        Raises:
            TuneMV3DError: no file is named.
        """
        if not file.strip():
            raise TuneMV3DError("the LoRA has no file: name one of models/loras, or a path, or leave the node out")
        path = host.lora_file(file.strip())
        return (model.with_lora(Lora(path, weight, _written(path))),)


def _changed(checkpoint: str) -> int:
    """Return when a checkpoint was written.

    Raises:
        CheckpointError: there is none.
    """
    # Heavy: torch.
    from tunemv3d_core.io.checkpoint import find_checkpoint

    return _written(find_checkpoint(checkpoint.strip()) / "provenance.json")


def _written(path: str | Path) -> int:
    """Return when a file was written, nanoseconds; 0 where there is none."""
    file = Path(path).expanduser()
    return file.stat().st_mtime_ns if file.exists() else 0
