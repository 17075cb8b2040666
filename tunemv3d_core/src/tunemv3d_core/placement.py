"""Where a loaded model computes, with which numbers, and what of it waits elsewhere."""

from dataclasses import dataclass

import torch

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.devices import find_dtype
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.offload import LayerOffload, PartOffload


@dataclass(frozen=True)
class Placement:
    """Where and how a model computes.

    Attributes:
        device: that computes.
        dtype: "auto" (``tunemv3d_core.devices.find_dtype``), "float32", "float16" or "bfloat16"; the field's
            parameters stay float32.
        offload: "none", "model" or "sequential": whole parts or single layers wait on the CPU.
    """

    device: torch.device
    dtype: str = "auto"
    offload: str = "none"

    def torch_dtype(self, spec: RunSpec) -> torch.dtype:
        """Return the dtype for a model of this spec.

        Raises:
            TuneMV3DError: the device cannot compute with it.
        """
        return find_dtype(self.device, self.dtype, spec.train.precision)

    @property
    def loads_on(self) -> torch.device:
        """Device that weights are loaded onto: the CPU where parts of them wait there."""
        return self.device if self.offload == "none" else torch.device("cpu")

    def apply(self, model: MultiviewDiffusion) -> None:
        """Move a loaded model, or let its parts take turns; its steps are CUDA graphs where they can be.

        Raises:
            ComponentError: it cannot be offloaded.
        """
        if self.offload == "none":
            model.to(self.device)
            model.cuda_graph = True
        elif self.offload == "model":
            PartOffload(model, self.device)
        else:
            LayerOffload(model, self.device)
