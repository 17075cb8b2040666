"""What can be meshed: a shape that knows its signed distance and what it looks like."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec, spec_id
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CameraError, SampleError, TuneMV3DWarning
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_core.io.samples import SCENE, SampledObject, read_sample
from tunemv3d_core.latents import decode_pictures
from tunemv3d_core.rendering.volume import MIN_OPACITY
from tunemv3d_core.sampling import has_surface, latent_size
from tunemv3d_core.slots import HasSurface, Scene
from tunemv3d_shape.views import Pictures


@runtime_checkable
class Shape(HasSurface, Protocol):
    """One object's surface and look."""

    def pictures(self, cameras: Cameras) -> Pictures | None:
        """What cameras ``m`` see; None where the shape has no colours of its own."""
        ...


@dataclass(frozen=True)
class GeneratedShape:
    """The field's shape of finished views.

    Attributes:
        scene: a batch of one.
        model: whose field made the scene.
        size: (h, w) of the latents.
    """

    scene: Scene
    model: MultiviewDiffusion
    size: tuple[int, int]

    def signed_distance(self, points: Tensor) -> Tensor:
        """``1 p 3`` to ``1 p``."""
        assert isinstance(self.scene, HasSurface)
        return self.scene.signed_distance(points)

    @torch.no_grad()
    def pictures(self, cameras: Cameras) -> Pictures | None:
        """The field's renders of cameras ``m``, decoded."""
        if self.model.field is None or self.model.field.ports.gives != "latents":
            return None
        device = next(self.model.parameters()).device
        rendering = self.scene.render(cameras[None].to(device), self.size)
        images = decode_pictures(self.model.backbone, self.model.blend(rendering, self.size))[0]
        opacity = interpolate(rendering.opacity[0][:, None].float(), images.shape[-2:], mode="bilinear")
        # They are on white; what is asked for is not.
        colours = ((images - 1 + opacity) / opacity.clamp(min=MIN_OPACITY)).clamp(0, 1)
        return Pictures(colours.cpu(), opacity[:, 0].cpu(), cameras.to("cpu"))


class Models:
    """Loaded checkpoints by name, each once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._loaded: dict[str, tuple[RunSpec, MultiviewDiffusion]] = {}

    def check_surface(self, name: str) -> None:
        """Refuse a checkpoint whose objects could not be meshed, before any is sampled.

        Raises:
            SampleError: its field has no surface.
            CheckpointError: it cannot be loaded.
        """
        # Not kept: what samples loads its own, and two would need twice the memory.
        spec, model = load_checkpoint(name, self.device)
        cameras = Cameras.orbit(spec.views.inputs)[None].to(model.device)
        size = latent_size(model.backbone.ports, spec.sample.size)
        if model.field is None or not has_surface(model, cameras, size):
            raise SampleError(f"the field of '{name}' has no surface, so there is nothing to mesh")

    def shape(self, sample: SampledObject) -> GeneratedShape:
        """The shape of a sampled object.

        Raises:
            SampleError: the manifest names no checkpoint, its field has no surface, or the views are not of its kind.
            CheckpointError: the checkpoint cannot be loaded.
        """
        name = str(sample.manifest.get("checkpoint", ""))
        if not name:
            raise SampleError(f"{sample.folder / 'manifest.json'}: names no checkpoint, which is needed for the shape")
        if name not in self._loaded:
            self._loaded[name] = load_checkpoint(name, self.device)
        spec, model = self._loaded[name]
        _check_same(sample, spec, model.backbone.ports.latent_channels)
        scene = sample.scene(model) if model.field is not None else None
        if not isinstance(scene, HasSurface):
            raise SampleError(f"{sample.folder}: the field of '{name}' has no surface, so there is nothing to mesh")
        return GeneratedShape(scene, model, (sample.latents.shape[-2], sample.latents.shape[-1]))


def read_whole_sample(folder: Path) -> SampledObject:
    """A sampled object whose latents are numbers.

    Raises:
        SampleError: a file is missing or damaged, a latent is not finite, or a camera stands inside the object.
    """
    try:
        sample = read_sample(folder)
    except CameraError as error:
        raise SampleError(f"{folder / SCENE}: {error}") from None
    bad = ~sample.latents.isfinite().flatten(1).all(1)
    if bool(bad.any()):
        view = int(bad.nonzero()[0])
        raise SampleError(f"{folder / SCENE}: view {view} is not finite (NaN); sample the object again")
    return sample


def _check_same(sample: SampledObject, spec: RunSpec, channels: int) -> None:
    """Refuse views that the checkpoint cannot have made, and tell where it is another one by now.

    Raises:
        SampleError: the latents are none of ``channels``, or not one a camera.
    """
    shape, views = tuple(sample.latents.shape), len(sample.cameras.origins)
    if len(shape) != 4 or shape[:2] != (views, channels):
        raise SampleError(
            f"{sample.folder / SCENE}: the latents are {shape}, where {views} views of {channels} channels are "
            f"expected: they are of another checkpoint than '{sample.manifest['checkpoint']}'"
        )
    made, now = str(sample.manifest.get("spec_id", "")), spec_id(spec)
    if made and made != now:
        told = f"was sampled with another '{sample.manifest['checkpoint']}' than there is now (spec {made[:12]}, not "
        warnings.warn(f"{sample.folder}: {told}{now[:12]}): its shape may be another", TuneMV3DWarning, stacklevel=2)
