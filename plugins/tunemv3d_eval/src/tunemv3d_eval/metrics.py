"""The metrics of this distribution (``tunemv3d_core.slots.ObjectMetric``), each around a function of tensors."""

from collections.abc import Mapping

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_eval.colour import foreground_colour, named_colour
from tunemv3d_eval.consistency import hull_recall, leave_one_out, opacity_iou, pose_agreement

Figures = Mapping[str, float | None]


class HullRecall:
    """``hull_recall`` at two tolerances: half a pixel, and one latent cell more."""

    figures: Mapping[str, Figure] = {
        "hull_recall": Figure(
            "share of a view's silhouette inside the visual hull of the other views, to half a pixel", low=0, high=1
        ),
        "hull_recall_cell": Figure("the same with the other silhouettes widened by one latent cell", low=0, high=1),
    }
    needs: tuple[Need, ...] = ()

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Figures:
        """Measure an object's silhouettes."""
        silhouettes, cameras = sample.silhouettes[None], sample.cameras[None]
        return {
            "hull_recall": hull_recall(silhouettes, cameras).item(),
            "hull_recall_cell": hull_recall(silhouettes, cameras, model.backbone.ports.image_stride).item(),
        }


class LeaveOneOut:
    """``leave_one_out``."""

    figures: Mapping[str, Figure] = {
        "leave_one_out": Figure(
            "PSNR of the field's render of a view, fused from the others alone (dB, mean over views)", low=0
        ),
    }
    needs = (Need.FIELD, Need.RENDERS, Need.NOVEL_VIEWS)

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Figures:
        """Fuse the field once for each view that is left out."""
        text = model.backbone.encode_text([sample.prompt])
        return {"leave_one_out": leave_one_out(model, sample.latents[None], text, sample.cameras[None]).item()}


class OpacityIou:
    """``opacity_iou``."""

    figures: Mapping[str, Figure] = {
        "opacity_iou": Figure("overlap of the field's opacity with the views' silhouettes", low=0, high=1),
    }
    needs = (Need.FIELD,)

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Figures:
        """Compare the field's opacity with the silhouettes."""
        assert sample.opacity is not None
        return {"opacity_iou": opacity_iou(sample.opacity[None], sample.silhouettes[None]).item()}


class PoseAgreement:
    """``pose_agreement``."""

    figures: Mapping[str, Figure] = {
        "pose_agreement": Figure("share of views that the field fits best from their own camera", low=0, high=1),
    }
    needs = (Need.FIELD,)

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Figures:
        """Compare every view's silhouette with the field's opacity from every camera."""
        assert sample.opacity is not None
        return {"pose_agreement": pose_agreement(sample.opacity[None], sample.silhouettes[None]).item()}


class Colour:
    """``foreground_colour`` beside ``named_colour``; says nothing where the prompt names no colour."""

    figures: Mapping[str, Figure] = {
        "colour_met": Figure("share of prompts whose named colour the foreground has", low=0, high=1),
    }
    needs: tuple[Need, ...] = ()

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Figures:
        """Compare the colour of the prompt with that of the pictures."""
        named = named_colour(sample.prompt)
        (seen,) = foreground_colour(sample.images[None], sample.silhouettes[None])
        return {"colour_met": None if named is None else float(named == seen)}


def build_hull_recall(spec: ComponentSpec) -> HullRecall:
    """Build the metric ``hull-recall``."""
    return HullRecall()


def build_leave_one_out(spec: ComponentSpec) -> LeaveOneOut:
    """Build the metric ``leave-one-out``."""
    return LeaveOneOut()


def build_opacity_iou(spec: ComponentSpec) -> OpacityIou:
    """Build the metric ``opacity-iou``."""
    return OpacityIou()


def build_pose_agreement(spec: ComponentSpec) -> PoseAgreement:
    """Build the metric ``pose-agreement``."""
    return PoseAgreement()


def build_colour(spec: ComponentSpec) -> Colour:
    """Build the metric ``colour``."""
    return Colour()
