"""Interfaces of a model's components: backbone, view encoder, field with its scene and aggregator, lifter, injector."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, ViewEncoderPorts
from tunemv3d_core.types import Rendering, Skips, Text


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

        Its interface is diffusers', of which ``tunemv3d_core.sampling`` says what may be missing.

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
        a lifter may add to them, not change them. Where the copy's blocks can be run again in the backward pass, it has
        ``enable_gradient_checkpointing()``, as diffusers' models have.
        """
        ...


@runtime_checkable
class KnowsCaptionWords(Protocol):
    """Backbone that may know which words stood in the captions that it was trained on."""

    def caption_words(self) -> Mapping[str, int] | None:
        """Return how many training objects had each word (``tunemv3d_core.io.caption_words``), None if not known."""
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


@runtime_checkable
class CastsWeights(Protocol):
    """A backbone whose frozen weights may be held in half precision where they are used under autocast. Optional."""

    def cast_weights(self, dtype: torch.dtype) -> None:
        """Hold in ``dtype`` those frozen weights of the denoising model that autocast to it would cast each time.

        Under autocast every prediction stays what it was, bit for bit. Autoencoder and text encoder, which are used
        without it too, stay as they are.
        """
        ...


@runtime_checkable
class LoadsAdapters(Protocol):
    """A backbone that takes LoRA and textual inversions on top, by diffusers' names. Optional.

    They change the frozen model alone, as with a ControlNet in diffusers: what a lifter copied from it stays.
    """

    def load_lora_weights(self, source: str, adapter_name: str) -> None:
        """Load a LoRA from a file, a folder or a hub id, and turn it on with weight 1.

        Raises:
            ComponentError: it cannot be read, or was made for another model; nothing is changed then.
        """
        ...

    def set_adapters(self, adapter_names: list[str], adapter_weights: list[float]) -> None:
        """Turn these on with their weights, and all others off.

        Raises:
            ComponentError: one that is not loaded.
        """
        ...

    def load_textual_inversion(self, source: str) -> None:
        """Load a textual inversion from a file, a folder or a hub id: prompts may use its word.

        Raises:
            ComponentError: it cannot be read, or was made for another model.
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
        """Lift the field's values ``b n v h w``, over their background, place by place to L maps ``(b n) c_k h_k w_k``.

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
        """Return L residuals in the shapes of the skips' maps, from L maps ``(b n) c_k h_k w_k``.

        Each follows its own map, place by place; the skips are left as they are.
        """
        ...
