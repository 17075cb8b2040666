"""What of a spec can only be checked with its model at hand; before anything is written."""

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SpecError
from tunemv3d_core.sampling import prepared_scheduler
from tunemv3d_train.loss_terms import weights_of
from tunemv3d_train.preview import STEPS_AT_MOST


def check_field(spec: RunSpec, model: MultiviewDiffusion) -> None:
    """Refuse losses that the field cannot have."""
    terms = any(weights_of(spec.loss)[name] for name in spec.loss.terms)
    if model.field is None:
        if not (spec.loss.denoise or terms):
            raise SpecError("loss.denoise: 0 leaves the plain 2D model nothing to learn from")
        return
    assert spec.model.field is not None
    name, ports = spec.model.field.type, model.field.ports
    if spec.views.novel and not ports.novel_views:
        raise SpecError(f"views.novel: the field '{name}' renders only the views that it saw; set views.novel to 0")
    if not (spec.loss.denoise or spec.loss.mask or terms or (spec.loss.neus and ports.gives == "latents")):
        raise SpecError("loss: every weight that reaches the model is 0; raise denoise, neus or mask")
    if spec.loss.neus and ports.gives == "features":
        raise SpecError(
            f"loss.neus: the field '{name}' renders features, which no picture shows; set loss.neus to 0, or let the "
            "field give latents"
        )


def check_sampling(spec: RunSpec, model: MultiviewDiffusion, size: tuple[int, int]) -> None:
    """Refuse what could not be sampled after training; ``size`` is that of the dataset's latents."""
    for steps in (spec.sample.steps, min(spec.sample.steps, STEPS_AT_MOST)):
        prepared_scheduler(model.backbone, spec.sample.scheduler, steps)
    ports = model.backbone.ports
    pictures = [side * ports.image_stride for side in size]
    samples = list(spec.sample.size or (ports.latent_size * ports.image_stride,) * 2)
    if pictures != samples:
        raise SpecError(
            f"sample.size: the pictures have {pictures} pixels, samples would have {samples}; "
            f"set sample.size={pictures}, or render pictures of the other size"
        )
