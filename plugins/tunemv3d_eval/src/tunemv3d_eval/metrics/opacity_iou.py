"""Does the field's opacity cover what the views show?"""

from collections.abc import Mapping

from torch import Tensor

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_eval.metrics.silhouettes import in_cells, silhouettes_iou


def opacity_iou(opacity: Tensor, silhouettes: Tensor) -> Tensor:
    """Intersection over union of the field's opacity and the pictures' silhouettes, averaged over the views.

    Args:
        opacity: ``b n h w``, 0 to 1; foreground above 0.5.
        silhouettes: ``b n H W``, boolean; averaged over each latent cell, foreground above 0.5.

    Returns:
        ``b``, 0 to 1; a view that is empty in both counts as 1.
    """
    return silhouettes_iou(opacity > 0.5, in_cells(silhouettes, opacity)).mean(-1)


class OpacityIou:
    """``opacity_iou``."""

    figures: Mapping[str, Figure] = {
        "opacity_iou": Figure("overlap of the field's opacity with the views' silhouettes", low=0, high=1),
    }
    needs = (Need.FIELD,)

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Compare the field's opacity with the silhouettes."""
        assert sample.opacity is not None
        return {"opacity_iou": opacity_iou(sample.opacity[None], sample.silhouettes[None]).item()}


def build_opacity_iou(spec: ComponentSpec) -> OpacityIou:
    """Build the metric ``opacity-iou``."""
    return OpacityIou()
