"""What ComfyUI gives its nodes: folders, a device, progress and the stop button. Plain defaults stand in without it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def _loaded(module: str) -> Any:
    """Return a module of ComfyUI's, which has imported all of them before it runs a node; None outside of it."""
    return sys.modules.get(module)


def output_directory() -> Path:
    """Return the folder of results."""
    folders = _loaded("folder_paths")
    return Path("output" if folders is None else folders.get_output_directory())


def temp_directory() -> Path:
    """Return the folder of pictures that are only shown; ComfyUI empties it when it starts."""
    folders = _loaded("folder_paths")
    return Path("temp" if folders is None else folders.get_temp_directory())


def lora_file(name: str) -> str:
    """Return the path of a file in ComfyUI's folders of LoRA; any other name as it is."""
    folders = _loaded("folder_paths")
    found = None if folders is None else folders.get_full_path("loras", name)
    return str(found or name)


def device() -> "torch.device":
    """Return the device that ComfyUI computes on."""
    # Heavy: torch.
    from tunemv3d_core.devices import find_device

    management = _loaded("comfy.model_management")
    return find_device("" if management is None else str(management.get_torch_device()))


class Progress:
    """The progress bar of the node at work.

    Args:
        steps: until it is full.
    """

    def __init__(self, steps: int) -> None:
        utils = _loaded("comfy.utils")
        self._bar = None if utils is None else utils.ProgressBar(steps)

    def advance(self) -> None:
        """Note that a step was done; ComfyUI's own exception ends the node where somebody has pressed stop."""
        management = _loaded("comfy.model_management")
        if management is not None:
            management.throw_exception_if_processing_interrupted()
        if self._bar is not None:
            self._bar.update(1)
