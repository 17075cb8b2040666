"""The interfaces that components implement. Every component of a model is a ``torch.nn.Module`` with a ``ports``
attribute; nothing needs to be inherited. Axes as in ``tunemv3d_core.types``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import ObjectInfo, PosedImages
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, ViewEncoderPorts
from tunemv3d_core.types import Rendering, Skips, Text, Views


class Backbone(Protocol):
    """The frozen 2D latent diffusion model, split into its encoder and its decoder.

    ``decode(encode(x_t, t, text), None, t, text)`` equals the model's own forward bit for bit; a backbone that offers
    that as ``forward(x_t, t, text)`` lets the conformance kit compare.
    """

    ports: BackbonePorts

    def encode_text(self, prompts: list[str]) -> Text:
        """Encode prompts; an empty string is the unconditional prompt."""
        ...

    def encode_images(self, images: Tensor) -> Tensor:
        """``b n 3 H W`` in [-1, 1] to latents ``b n c h w``: the posterior's mean, scaled and shifted."""
        ...

    def decode_latents(self, latents: Tensor) -> Tensor:
        """``b n c h w`` to images ``b n 3 H W`` in [-1, 1]."""
        ...

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """The forward process: ``b n c h w`` with t ``b n``. t = 0 for a view given clean returns it unchanged only
        where the caller keeps it; this function always adds the schedule's noise.
        """
        ...

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the model is trained to predict (epsilon, v, sample or flow), ``b n c h w``."""
        ...

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The clean latents that a prediction at x_t stands for, all ``b n c h w``, t ``b n``."""
        ...

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        """The schedule's cumulative product of alphas at t, of t's shape."""
        ...

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        """The frozen encoder: ``b n c h w``, t ``b n``."""
        ...

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        """The frozen decoder with L residuals added to the skips; None equals zeros bit for bit."""
        ...

    def scheduler(self, name: str = "") -> Any:
        """A fresh scheduler with diffusers' interface (``set_timesteps``, ``timesteps``, ``init_noise_sigma``,
        ``scale_model_input``, ``step(...).prev_sample``) on the model's schedule; "" gives the model's own kind.

        Raises:
            ComponentError: an unknown name; the message lists the known ones.
        """
        ...

    def fingerprint(self) -> dict[str, str]:
        """The frozen model's weight files and their sha256, so that a checkpoint can tell if the base was swapped."""
        ...

    def latent_key(self) -> str:
        """sha256 of whatever ``encode_images`` depends on: its weights and its scale."""
        ...

    def copy_encoder(self, share: bool = False) -> nn.Module:
        """A trainable copy of the encoder for a lifter: ``copy(x, t, text, hint) -> tuple of L maps (b n) c_k h_k w_k``
        where ``x`` is ``b n c h w`` and ``hint`` (``(b n) c_0 h w`` or None) is added after its first layer.

        With ``share`` its layers are new but their weights are the backbone's own tensors, as frozen as they are there:
        a lifter may add to them, not change them.
        """
        ...


class ViewEncoder(Protocol):
    """E: looks at each noisy view by itself, with weights shared across views (paper B.1)."""

    ports: ViewEncoderPorts

    def __call__(
        self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras, foreground_x0: Tensor | None = None
    ) -> Tensor:
        """x_t ``b n c h w``, t ``b n`` to features ``b n f h' w'``.

        ``foreground_x0`` is passed where the ports ask for it: the frozen model's x0 of each view minus the latent of a
        white image, ``b n c h w``, so that 0 shows no object.
        """
        ...


@runtime_checkable
class Scene(Protocol):
    """What a field made of one batch of views: can be rendered from any camera."""

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render cameras ``b m`` as maps of ``size`` (h, w), or at ``pixels`` (``b m r 2``, (x, y) as fractions).

        Values and opacity have the type of the features, depth is float32. Previews and samples ask for ``normals``;
        a scene that has none leaves them None. Sizes need not be the features', and a scene is rendered many times.
        """
        ...

    def losses(self) -> dict[str, Tensor]:
        """The field's own regularisers for this step (scalars by name, such as eikonal and sparsity)."""
        ...


@runtime_checkable
class HasSurface(Protocol):
    """A scene with a surface."""

    def signed_distance(self, points: Tensor) -> Tensor:
        """``b p 3`` in world units to ``b p``: negative inside."""
        ...


class Field(Protocol):
    """The interaction field: merges all views' features into one scene (paper B.1)."""

    ports: FieldPorts

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Scene:
        """Features ``b n f h' w'``, cameras ``b n``, t ``b`` (the noise level that the object's noisy views share)."""
        ...


class Aggregator(Protocol):
    """Merges what n views say of a point; used inside fields."""

    channels: int

    def __call__(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        """Features ``b n f h' w'`` and points ``b p 3`` to ``b p channels``."""
        ...


class Lifter(Protocol):
    """O: turns rendered values into L feature maps."""

    ports: LifterPorts

    def __call__(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        """Values ``b n v h w``, x_t ``b n c h w`` to L maps ``(b n) c_k h_k w_k``."""
        ...


class Injector(Protocol):
    """Turns lifted maps into residuals for the frozen decoder; all exactly zero at initialisation (paper Eq. 2)."""

    ports: InjectorPorts

    def __call__(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        """L maps ``(b n) c_k h_k w_k`` to L residuals of the skips' shapes."""
        ...


class Dataset(Protocol):
    """Multi-view pictures, indexable by object."""

    def __len__(self) -> int: ...

    def splits(self) -> dict[str, list[int]]:
        """Object indices by split: "train" and "held_out"."""
        ...

    def record(self, index: int) -> PosedImages:
        """What is known of one object: its cameras, captions and licence."""
        ...

    def views(self, index: int, cameras: list[int]) -> Views:
        """The named cameras' pictures of one object, a batch of one."""
        ...


@runtime_checkable
class KeepsLatents(Dataset, Protocol):
    """A dataset beside which latents of its pictures may be kept."""

    latents_folder: Path | None
    """Where they are kept; None where nobody asked for it."""

    def digest(self, index: int) -> str:
        """sha256 of everything that one object's latents are made from: its pictures, in order."""
        ...


@runtime_checkable
class Streams(Dataset, Protocol):
    """A dataset that is read while training goes on, because memory cannot hold it.

    ``record``, ``views``, ``latents`` and ``expect`` are called from several threads at once.
    """

    workers: int
    """Threads that read ahead of the step."""

    def object_infos(self) -> Sequence[ObjectInfo]:
        """Every object by its index, known without reading any."""
        ...

    def order(self, seed: int, epoch: int, rank: int, world: int) -> Sequence[int]:
        """One process's training objects of an epoch, shuffled: a function of the arguments alone, equally long in
        every epoch.
        """
        ...

    def picture_size(self) -> tuple[int, int]:
        """(h, w) of every picture."""
        ...

    def latent_shape(self, key: str) -> tuple[int, int, int] | None:
        """(c, h, w) of the latents that the image encoder of this key (``Backbone.latent_key``) made, None where the
        dataset has none of its.
        """
        ...

    def latents(self, index: int, cameras: list[int]) -> tuple[Tensor, Tensor]:
        """The named cameras' latents ``n c h w`` and alpha ``n h w``, where ``latent_shape`` promises them."""
        ...

    def expect(self, index: int) -> None:
        """Told of an object that will be needed soon. Does not wait, and reports nothing."""
        ...


class MeshRenderer(Protocol):
    """Renders a mesh from cameras; used to make datasets."""

    def __call__(self, mesh: object, cameras: Cameras, resolution: int, light: object) -> Iterator[dict[str, object]]:
        """One view for each camera (shape ``(n,)``): arrays ``rgba`` (h w 4, uint8, straight alpha), ``depth`` and
        ``normals`` by name, ``resolution`` pixels a side. Mesh and light are of the types that the caller's
        package defines.
        """
        ...
