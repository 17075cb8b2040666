"""Interfaces that components implement.

Nothing needs to be inherited: a class that has these attributes and methods fits. Every component of a model is a
``torch.nn.Module`` with an attribute ``ports`` (``tunemv3d_core.ports``), which says what it takes and gives.
Aggregators, which live inside fields, have ``channels`` instead.

Shapes are written in the letters of ``tunemv3d_core.types``; b, n, m, h and w may differ from call to call. Units, axes
and ranges: ``docs/conventions.md``. Three rules hold for all components of a model:

- **dtype.** Outside autocast the result has the dtype of the input (float32 or bfloat16). Depth may be float32
  whatever the input is, and so may what an aggregator gives. Under autocast depth is float32, and the rest may be
  either; points, encodings, signed distances and compositing should be computed in float32
  (``tunemv3d_core.rendering.precision``).
- **Determinism.** In evaluation mode the result depends on the arguments alone, bit for bit. In training it may also
  depend on torch's global random generator, which the trainer seeds at every step.
- **Errors.** Whatever a person can mend raises a ``tunemv3d_core.errors.TuneMV3DError``; commands print its message
  without a traceback.

``tunemv3d plugins check NAME`` tries most of this on a component.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import ObjectInfo, PosedImages
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, ViewEncoderPorts
from tunemv3d_core.types import Figure, Need, Pictures, Rendering, SampledObject, Skips, Text, TexturedMesh, Views


class Backbone(Protocol):
    """The frozen 2D latent diffusion model, split into its encoder and its decoder. t is ``b n``, in timesteps.

    ``decode(encode(x_t, t, text), None, t, text)`` equals the model's own forward bit for bit; a backbone that offers
    that as ``forward(x_t, t, text)`` lets the conformance kit compare.
    """

    ports: BackbonePorts

    def encode_text(self, prompts: list[str]) -> Text:
        """Encode b prompts; an empty string is the unconditional prompt."""
        ...

    def encode_images(self, images: Tensor) -> Tensor:
        """Encode pictures ``b n 3 H W`` in [-1, 1] to latents ``b n c h w``: the mean, scaled and shifted."""
        ...

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Decode latents ``b n c h w`` to pictures ``b n 3 H W``, about in [-1, 1]."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the noisy latents x_t of the forward process, ``b n c h w``.

        It adds the schedule's noise at every t, also at 0: a caller who gives a view clean puts the clean latents in.
        """
        ...

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the model should predict (epsilon, v, sample or flow), ``b n c h w``."""
        ...

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents that a prediction at x_t stands for, all ``b n c h w``."""
        ...

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        """Return the schedule's cumulative product of alphas at t, in t's shape."""
        ...

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        """Run the encoder on ``b n c h w``: each view by itself, with its object's prompt."""
        ...

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        """Run the decoder with L residuals added to the skips' maps, and return the prediction ``b n c h w``.

        Residuals of None equal zeros bit for bit.
        """
        ...

    def scheduler(self, name: str = "") -> Any:
        """Make a scheduler on the model's noise schedule; "" gives the model's own kind.

        Its interface is diffusers', of which ``tunemv3d_core.schedulers`` says what may be missing.

        Raises:
            ComponentError: an unknown name; the message lists the known ones.
        """
        ...

    def fingerprint(self) -> dict[str, str]:
        """Return the frozen model's weight files and their sha256, so that a checkpoint can tell if it was replaced."""
        ...

    def latent_key(self) -> str:
        """Return the sha256 of whatever ``encode_images`` depends on: its weights and its scale."""
        ...

    def copy_encoder(self, share: bool = False) -> nn.Module:
        """Make a trainable copy of the encoder for a lifter.

        The copy is called as ``copy(x, t, text, hint)`` and gives a tuple of L maps ``(b n) c_k h_k w_k``; ``x`` is
        ``b n c h w``, and ``hint`` (``(b n) c_0 h w`` or None) is added after its first layer.

        With ``share`` its layers are new but their weights are the backbone's own tensors, as frozen as they are there:
        a lifter may add to them, not change them.
        """
        ...


@runtime_checkable
class ReportsCutPrompts(Protocol):
    """A backbone that says what of a prompt its text encoder does not see. Optional."""

    def cut_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return a sentence for each prompt that is longer than the text encoder takes, with the words that are cut."""
        ...


@runtime_checkable
class Offloadable(Protocol):
    """A backbone whose text encoder and autoencoder can be off the accelerator while it denoises. Optional."""

    def offloadable(self) -> tuple[nn.Module, nn.Module]:
        """Return the text encoder and the autoencoder, child modules that no denoising step calls.

        Each is moved when its ``forward`` is called, or a method under diffusers' ``apply_forward_hook``. All that a
        denoising step needs lies in the backbone's other child modules.
        """
        ...


class ViewEncoder(Protocol):
    """Encoder E, which makes features of each noisy view by itself, with weights shared by all views (paper B.1)."""

    ports: ViewEncoderPorts

    def __call__(
        self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras, foreground_x0: Tensor | None = None
    ) -> Tensor:
        """Make features of views.

        Args:
            x_t: ``b n c h w``, noisy latents, scaled as the model's scheduler asks.
            t: ``b n``; 0 for a view given clean.
            text: b prompts.
            cameras: ``b n``.
            foreground_x0: ``b n c h w``, passed where the ports ask for it: the frozen model's x0 of each view minus
                the latent of a white image, so that 0 shows no object.

        Returns:
            ``b n f h' w'``, one cell per ``ports.stride`` latent cells.
        """
        ...


@runtime_checkable
class Scene(Protocol):
    """Scene of b objects, made by a field from their views: it can be rendered from any camera, any number of times.

    It need not have a surface; splats, radiance fields or an attention over views do as well. Scenes with a signed
    distance can be ``tunemv3d_core.rendering.sdf_scene.SDFScene``; ``tunemv3d_core.rendering`` has rays, sampling and
    compositing for others.
    """

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render the scene as cameras see it.

        Args:
            cameras: ``b m``, not only those of the fused views (unless the ports say ``novel_views = False``).
            size: (h, w) of the maps; not always that of the features.
            pixels: ``b m r 2``, (x, y) as fractions of the image's width and height: render these points alone. At the
                centres of all cells they give the maps.
            normals: whether normals are wanted, as previews and samples want them; a scene that has none leaves them
                None.

        Returns:
            Values, opacity and depth as maps, ``b m v h w`` and ``b m h w``, or at pixels, ``b m v r`` and ``b m r``.
            Values are premultiplied by opacity and depth is divided by it (``Rendering``). Values and opacity carry
            gradients to the features.

        Raises:
            CameraError: the field renders no novel views, and a camera is none of those that it saw.
        """
        ...

    def losses(self) -> dict[str, Tensor]:
        """Return the field's own regularisers of this step: finite scalars by name, such as eikonal and sparsity.

        The names are always the same, and none is a figure of the trainer's own (``OWN_FIGURES``); ``loss.scene`` of
        the spec weighs each.
        """
        ...


@runtime_checkable
class HasSurface(Protocol):
    """Scene with a surface, which can be meshed and evaluated as a shape."""

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return signed distances ``b p`` at points ``b p 3``: world units, float32, negative inside the object.

        It is the surface that ``render`` shows: close to 0 at the rendered depth, with a gradient that points outward.
        """
        ...


@runtime_checkable
class Shape(HasSurface, Protocol):
    """One object's surface, a batch of one, and what it looks like: what can be meshed."""

    def pictures(self, cameras: Cameras) -> Pictures | None:
        """Render cameras ``m``, whose pictures come on the CPU; None where the shape has no colours of its own."""
        ...


class Field(Protocol):
    """The interaction field: merges all views' features into one scene (paper B.1)."""

    ports: FieldPorts

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Scene:
        """Merge the views of b objects.

        Args:
            features: ``b n f h' w'``, whose cells lie at the same fractions of the image whatever its size.
            cameras: ``b n``; their order means nothing, and neither does that of the objects.
            t: ``b``, the noise level that an object's noisy views share, in timesteps.
        """
        ...


class Aggregator(Protocol):
    """Merges the features of n views at points in space. Fields that look views up take one as an option."""

    channels: int
    """Channels that it gives for each point."""

    def __call__(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        """Return ``b p channels`` at points ``b p 3`` (world units) from features ``b n f h' w'``.

        A view counts where it sees the point; the order of the views means nothing.
        """
        ...


class Lifter(Protocol):
    """O: turns rendered values into L feature maps."""

    ports: LifterPorts

    def __call__(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        """Lift the field's values ``b n v h w``, over their background, to L maps ``(b n) c_k h_k w_k``.

        Args:
            values: ``b n v h w``: what the field renders of the input views, with the background blended in.
            x_t: ``b n c h w``, the noisy latents.
            t: ``b n``, timesteps.
            text: b prompts.
        """
        ...


class Injector(Protocol):
    """Turns lifted maps into residuals for the frozen decoder; all exactly zero at initialisation (paper Eq. 2)."""

    ports: InjectorPorts

    def __call__(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        """Return L residuals in the shapes of the skips' maps, from L maps ``(b n) c_k h_k w_k``."""
        ...


class Dataset(Protocol):
    """Multi-view pictures of objects, read by an index from 0 to len - 1. Built by ``build(spec)`` in every process.

    Everything is a function of the arguments: latents are kept after the first visit, and a resumed run sees what the
    interrupted one saw. Methods are called from one thread (those of ``Streams`` from several). The objects need no
    files; a dataset may lie in memory. Every picture of a dataset has the same size, a multiple of the backbone's
    ``image_stride``.
    """

    def __len__(self) -> int:
        """Return the number of objects, of all splits."""
        ...

    def splits(self) -> dict[str, list[int]]:
        """Return object indices by split. "train" and "held_out" are both there, disjoint; "held_out" may be empty."""
        ...

    def record(self, index: int) -> PosedImages:
        """Return an object's cameras ``(n,)``, captions (at least one), licence, creator and source.

        Every training step asks for it, so that it should be at hand. Cameras are as in ``tunemv3d_core.cameras``
        (OpenCV axes, intrinsics as fractions) and pass ``Cameras.check``; the object lies within radius 0.9 of the
        origin. ``files`` may stay empty.

        Raises:
            DatasetError: the object cannot be read; names it.
        """
        ...

    def views(self, index: int, cameras: list[int]) -> Views:
        """Return the pictures of some of an object's cameras, in the order asked for, as a batch of one.

        Args:
            index: index of the object.
            cameras: indices of the record's cameras.

        Raises:
            DatasetError: a picture cannot be read; names it.
        """
        ...


@runtime_checkable
class KeepsLatents(Dataset, Protocol):
    """A dataset whose latents may be kept on disk, so that the next run need not encode its pictures. Optional."""

    latents_folder: Path | None
    """Folder to keep them in; None where that was not asked for."""

    def digest(self, index: int) -> str:
        """Return the sha256 of everything that one object's latents are made from: its pictures, in order."""
        ...


@runtime_checkable
class Streams(Dataset, Protocol):
    """A dataset that is read while training goes on, because memory cannot hold it. Optional.

    ``record``, ``views``, ``latents`` and ``expect`` are called from several threads at once.
    """

    workers: int
    """Number of threads that read ahead of the step; no result depends on it."""

    def object_infos(self) -> Sequence[ObjectInfo]:
        """Return a summary of every object by its index, without reading any."""
        ...

    def order(self, seed: int, epoch: int, rank: int, world: int) -> Sequence[int]:
        """Return the training objects of one epoch in one of ``world`` processes, shuffled.

        It is a function of the arguments alone, and equally long in every epoch.
        """
        ...

    def picture_size(self) -> tuple[int, int]:
        """Return (H, W) of every picture, pixels."""
        ...

    def latent_shape(self, key: str) -> tuple[int, int, int] | None:
        """Return (c, h, w) of the packed latents, or None where there are none of this image encoder.

        Args:
            key: ``Backbone.latent_key`` of the encoder.
        """
        ...

    def latents(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        """Return latents ``n c h w`` and alpha ``n h w`` (averaged down to latent cells) of some of an object's views.

        Called only where ``latent_shape`` promises them.
        """
        ...

    def expect(self, index: int) -> None:
        """Begin to fetch an object that will be needed soon. Returns at once and raises nothing."""
        ...


@dataclass(frozen=True)
class Prediction:
    """One denoising step's outcome. Without a field only ``modulated`` is there.

    Attributes:
        modulated: ``b n c h w``, in the backbone's prediction type.
        frozen: like ``modulated``: the frozen model's, where it was asked; without gradient.
        x0: ``b n v h w``: the field's prediction of the clean views, blended over the background.
        rendering: the input views as rendered.
        scene: what the field made of the views.
        novel_x0: ``b m v h w`` or ``b m v r``: the same for the novel cameras, blended over the background.
        novel: the novel cameras as rendered.
    """

    modulated: Tensor
    x0: Tensor | None = None
    rendering: Rendering | None = None
    scene: Scene | None = None
    novel_x0: Tensor | None = None
    novel: Rendering | None = None
    frozen: Tensor | None = None


@dataclass(frozen=True)
class Targets:
    """The truth that a training step compares a prediction with. Images are latents, masks have their resolution.

    Attributes:
        latents: ``b n c h w``, the input views' clean latents.
        alpha: ``b n h w`` in [0, 1], 1 inside the input views' objects.
        x_t: ``b n c h w``, the latents that the model was given.
        prediction: ``b n c h w``, what the backbone should predict of ``x_t`` (epsilon, v, sample or flow).
        t: ``b n``, 0 where a view is given clean; the noisy views of one object share one t.
        is_clean: ``b n`` boolean.
        text: b prompts.
        cameras: ``b n``.
        novel_cameras: ``b m``; this and what follows is None where no novel view is rendered.
        novel_pixels: ``b m r 2``, (x, y) as fractions, where the novel views are rendered at some pixels alone.
        novel_latents: like ``Prediction.novel_x0``, ``b m c h w`` or ``b m c r``.
        novel_alpha: ``b m h w`` or ``b m r``.
    """

    latents: Tensor
    alpha: Tensor
    x_t: Tensor
    prediction: Tensor
    t: Tensor
    is_clean: Tensor
    text: Text
    cameras: Cameras
    novel_cameras: Cameras | None = None
    novel_pixels: Tensor | None = None
    novel_latents: Tensor | None = None
    novel_alpha: Tensor | None = None


class Loss(Protocol):
    """A loss on what a training step predicts, beside the paper's; the spec weighs it (``loss.terms``).

    It is built by ``build(spec, context)``; its options derive from ``LossTermSpec``. It has nothing to learn: where it
    is a module, its parameters are frozen.
    """

    def __call__(self, prediction: Prediction, targets: Targets) -> Tensor:
        """One number per view, ``b n`` of the input views or ``b (n + m)`` with the novel ones after them; their mean
        is the loss.

        Raises:
            TuneMV3DError: the prediction lacks what it needs, such as a rendering. Asked before the first step.
        """
        ...


class MeshRenderer(Protocol):
    """Renderer of meshes, with which datasets are made."""

    def __call__(
        self, mesh: object, cameras: Cameras, size: tuple[int, int], light: object
    ) -> Iterator[dict[str, object]]:
        """Render one view per camera, in order.

        Args:
            mesh: of the type that the caller's package defines.
            cameras: ``(n,)``.
            size: (h, w) of a view, pixels.
            light: of the type that the caller's package defines.

        Returns:
            Arrays by name: ``rgba`` (``h w 4``, uint8, straight alpha), ``depth`` and ``normals``.
        """
        ...


@runtime_checkable
class ObjectMetric(Protocol):
    """Measures one object at a time; built by ``build(spec)``. What is reported of several objects is the mean.

    It changes nothing that it is given, and its figures depend on nothing else: not on objects before, nor on torch's
    random generator. It is called without gradients.
    """

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The numbers that it gives, by their names in the report."""
        ...

    @property
    def needs(self) -> Collection[Need]:
        """What must be there; where something is not, the metric is left out with that reason."""
        ...

    def measure(self, sample: SampledObject, model: Any) -> Mapping[str, float | None]:
        """Measure an object: every declared figure, None for one that says nothing of this object.

        Args:
            sample: the object.
            model: the ``MultiviewDiffusion`` that it comes from.
        """
        ...


@runtime_checkable
class SetMetric(Protocol):
    """Measures all objects of a set together, such as the samples of all prompts at one K; else as ``ObjectMetric``.

    Its figures do not depend on the order of the objects.
    """

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The numbers that it gives, by their names in the report."""
        ...

    @property
    def needs(self) -> Collection[Need]:
        """What must be there of every object."""
        ...

    def measure_set(self, samples: Sequence[SampledObject], model: Any) -> Mapping[str, float | None]:
        """Measure a set: every declared figure, None for one that says nothing of it.

        Args:
            samples: all objects, whose tensors lie on the CPU.
            model: the ``MultiviewDiffusion`` that they come from, on its own device.
        """
        ...


def metric_error(metric: Any) -> str | None:
    """What is wrong with a built metric, if anything: neither or both protocols, or a declaration that is none."""
    if isinstance(metric, ObjectMetric) == isinstance(metric, SetMetric):
        return "should have 'figures', 'needs' and either 'measure' (an object at a time) or 'measure_set'"
    if not metric.figures or not all(isinstance(figure, Figure) for figure in metric.figures.values()):
        return f"should hold a Figure by each name in 'figures', got {metric.figures!r:.100}"
    if unknown := [need for need in metric.needs if need not in list(Need)]:
        return f"needs {unknown[0]!r}; what can be needed: {', '.join(Need)}"
    return None


class Mesher(Protocol):
    """Makes a textured mesh of one object; built as ``build(spec)``."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        """Mesh a shape.

        Args:
            shape: of one object, such as a field's scene; points that it is asked about lie on ``device``.
            views: finished views of the object, on the CPU.
            device: where to compute.

        Raises:
            SampleError: the shape has no surface, such as a signed distance that is positive everywhere.
        """
        ...
