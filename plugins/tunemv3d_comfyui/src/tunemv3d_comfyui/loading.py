"""Models of recipes in memory: the last one stays, so that a new prompt or another weight of a LoRA loads nothing."""

import gc

from tunemv3d_comfyui import host
from tunemv3d_comfyui.recipe import ModelRecipe
from tunemv3d_core.additions import Additions
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_core.placement import Placement
from tunemv3d_core.slots import LoadsAdapters

_kept: dict[ModelRecipe, LoadedCheckpoint] = {}
"""The model that was used last, by the files that it was loaded from."""


def load(recipe: ModelRecipe) -> LoadedCheckpoint:
    """Return a recipe's model, its LoRA weighted as the recipe says.

    Raises:
        CheckpointError: no checkpoint there, or it cannot be read with what is installed.
        TuneMV3DError: the device cannot compute so, or a LoRA does not fit.
    """
    if recipe.files not in _kept:
        # The last one goes first: there may be no room for two.
        _kept.clear()
        gc.collect()
        _kept[recipe.files] = _from_disk(recipe)
    loaded = _kept[recipe.files]
    backbone = loaded.model.backbone
    if recipe.loras and isinstance(backbone, LoadsAdapters):
        weights = [lora.weight for lora in recipe.loras]
        backbone.set_adapters([f"lora-{number}" for number in range(len(weights))], weights)
    return loaded


def rest(loaded: LoadedCheckpoint) -> None:
    """Take off the accelerator whatever of an offloaded model came there for its turn."""
    if loaded.model.offload is not None:
        loaded.model.offload.release()


def _from_disk(recipe: ModelRecipe) -> LoadedCheckpoint:
    device = host.device()
    if recipe.offload != "none" and device.type == "cpu":
        raise TuneMV3DError(
            f"offload '{recipe.offload}' keeps parts of the model off an accelerator, and '{device}' is none: "
            "take 'none'"
        )
    loras = tuple(f"{lora.file}:1" for lora in recipe.loras)
    place = Placement(device, recipe.dtype, recipe.offload)
    return LoadedCheckpoint.load(recipe.checkpoint, place, Additions(recipe.base, loras))
