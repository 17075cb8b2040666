"""Is the object seen from the cameras that were asked for?"""

from collections.abc import Mapping

from torch import Tensor

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_eval.metrics.silhouettes import in_cells, silhouettes_iou

POSE_FIT = 0.5
"""Intersection over union from which on a field's silhouette can tell a view's pose."""


def pose_agreement(opacity: Tensor, silhouettes: Tensor, tolerance: float = 0.02) -> Tensor:
    """The share of views that follow their camera.

    A view follows if, among the field's silhouettes from all n cameras, that from its own camera fits it best (highest
    intersection over union), or all but ``tolerance`` as well: symmetric objects look alike from several sides. The fit
    must be ``POSE_FIT`` at least, because a round blob looks alike from everywhere and agrees with nothing.

    Args:
        opacity: ``b n h w``, the field's, from the n cameras.
        silhouettes: ``b n H W``, the pictures', boolean.
        tolerance: by how much another camera may fit better.

    Returns:
        ``b``, 0 to 1. Views drawn without regard to the camera score about 1/n, more if the object is symmetric.
    """
    fits = silhouettes_iou((opacity > 0.5)[:, None], in_cells(silhouettes, opacity)[:, :, None])
    own = fits.diagonal(dim1=1, dim2=2)
    return ((own >= POSE_FIT) & (own >= fits.amax(-1) - tolerance)).float().mean(-1)


class PoseAgreement:
    """``pose_agreement``."""

    figures: Mapping[str, Figure] = {
        "pose_agreement": Figure("share of views that the field fits best from their own camera", low=0, high=1),
    }
    needs = (Need.FIELD,)

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Compare every view's silhouette with the field's opacity from every camera."""
        assert sample.opacity is not None
        return {"pose_agreement": pose_agreement(sample.opacity[None], sample.silhouettes[None]).item()}


def build_pose_agreement(spec: ComponentSpec) -> PoseAgreement:
    """Build the metric ``pose-agreement``."""
    return PoseAgreement()
