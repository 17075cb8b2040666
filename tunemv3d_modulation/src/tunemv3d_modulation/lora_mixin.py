"""LoRA and textual inversions on top, as the pipeline takes them."""

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_modulation.adapters.loader import Adapters
from tunemv3d_modulation.adapters.mixin import AdaptersMixin


class LoraMixin(AdaptersMixin):
    """The part of ``TuneMV3DPipeline`` that loads LoRA and textual inversions."""

    model: MultiviewDiffusion

    @property
    def adapters(self) -> Adapters:  # type: ignore[override]
        """What is on top of the backbone.

        Raises:
            ComponentError: a backbone of another kind.
            TuneMV3DError: its parts take turns on an accelerator, so that nothing can be put into them.
        """
        found = getattr(self.model.backbone, "adapters", None)
        if not isinstance(found, Adapters):
            raise ComponentError(f"backbone '{type(self.model.backbone).__name__}' takes no LoRA or textual inversion")
        if self.model.offload is not None:
            raise TuneMV3DError("LoRA and textual inversions come before offloading: call remove_all_hooks() first")
        return found
