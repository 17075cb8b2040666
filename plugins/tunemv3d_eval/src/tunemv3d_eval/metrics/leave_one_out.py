"""How well does the field show a view that it was not given?"""

from collections.abc import Mapping

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.sampling import SURFACE_TIMESTEP, fuse_clean
from tunemv3d_core.slots import Figure, MeasuredObject, Need
from tunemv3d_core.types import Text


@torch.no_grad()
def leave_one_out(
    model: MultiviewDiffusion,
    latents: Tensor,
    text: Text,
    cameras: Cameras,
    t: float = SURFACE_TIMESTEP,
    seed: int = 0,
) -> Tensor:
    """PSNR between each decoded view and the field's render of it, fused from the other views alone.

    Args:
        model: with a field that gives latents.
        latents: ``b n c h w``, clean.
        text: b prompts.
        cameras: ``b n``.
        t: timestep of the noise that is added before fusing.
        seed: of that noise.

    Returns:
        ``b``: decibels over the whole picture, the mean over views of each view's PSNR.
    """
    n, size = latents.shape[1], (latents.shape[-2], latents.shape[-1])
    others = torch.tensor([[j for j in range(n) if j != i] for i in range(n)], device=latents.device)
    results = []
    for i, views in enumerate(latents):
        # One batch of n objects, each lacking another of the views.
        repeated = text.map(lambda x, i=i: x[i : i + 1]).per_view(n)
        scene = fuse_clean(model, views[others], repeated, cameras[i][others], t, seed)
        rendered = model.blend(scene.render(cameras[i][:, None], size), size)[:, 0]
        decoded = model.backbone.decode_latents(torch.stack([rendered, views]))
        results.append(psnr(decoded[0].float(), decoded[1].float()).mean())
    return torch.stack(results)


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of ``... 3 H W`` images in [-1, 1], clamped to it: ``...``, decibels."""
    error = (images.clamp(-1, 1) - references.clamp(-1, 1)).square().mean((-3, -2, -1)) / 4
    return -10 * error.clamp(min=1e-10).log10()


class LeaveOneOut:
    """``leave_one_out``."""

    figures: Mapping[str, Figure] = {
        "leave_one_out": Figure(
            "PSNR of the field's render of a view, fused from the others alone (dB, mean over views)", low=0
        ),
    }
    needs = (Need.FIELD, Need.RENDERS, Need.NOVEL_VIEWS)

    def measure(self, sample: MeasuredObject, model: MultiviewDiffusion) -> Mapping[str, float | None]:
        """Fuse the field once for each view that is left out; a single view has no others."""
        if len(sample.latents) < 2:
            return {"leave_one_out": None}
        text = model.backbone.encode_text([sample.prompt])
        return {"leave_one_out": leave_one_out(model, sample.latents[None], text, sample.cameras[None]).item()}


def build_leave_one_out(spec: ComponentSpec) -> LeaveOneOut:
    """Build the metric ``leave-one-out``."""
    return LeaveOneOut()
