"""The whole model: a frozen 2D diffusion model whose views talk to each other through a 3D field."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.plugins.descriptor import MODEL_SLOTS
from tunemv3d_core.shapes import check_shape
from tunemv3d_core.slots import Backbone, Field, Injector, Lifter, Prediction, Scene, ViewEncoder
from tunemv3d_core.types import Rendering, Skips, Text


class TakesTurns(Protocol):
    """Where the parts of a model are while they take turns on an accelerator (``tunemv3d_core.offload``)."""

    device: torch.device
    """The accelerator."""

    def begin_step(self) -> None:
        """Bring what denoises to the accelerator, and take the others off it."""
        ...

    def release(self) -> None:
        """Take off the accelerator whatever came there for its turn."""
        ...

    def remove(self) -> None:
        """Undo it; everything is on the CPU then."""
        ...


class MultiviewDiffusion(nn.Module):
    """Model that encodes, fuses, renders, lifts, injects and decodes n views (paper B.1, B.2).

    The view encoder, field, lifter and injector are there together or not at all; without them this is the plain
    2D model.

    Args:
        backbone: the frozen 2D model; the others are the components of their slots.
        components: the options of each component by its place, such as "field.aggregator".

    Attributes:
        offload: which parts are on the accelerator by turns, None where all are on one device.
        cuda_graph: whether steps of a sampling are captured as a CUDA graph where all is on a CUDA device.
    """

    def __init__(
        self,
        backbone: nn.Module,
        view_encoder: nn.Module | None = None,
        field: nn.Module | None = None,
        lifter: nn.Module | None = None,
        injector: nn.Module | None = None,
        components: Mapping[str, ComponentSpec] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = cast(Backbone, backbone)
        self.view_encoder = cast(ViewEncoder | None, view_encoder)
        self.field = cast(Field | None, field)
        self.lifter = cast(Lifter | None, lifter)
        self.injector = cast(Injector | None, injector)
        self.components = dict(components or {})
        self.offload: TakesTurns | None = None
        self.cuda_graph = False
        self._background_latents: dict[tuple[Any, ...], Tensor] = {}

    def slots(self) -> dict[str, nn.Module]:
        """Return the components that are there, by slot, in the order in which they were built."""
        return {slot: module for slot in MODEL_SLOTS if (module := getattr(self, slot)) is not None}

    @property
    def device(self) -> torch.device:
        """Device that computes: that of the parameters, or the accelerator on which they take turns."""
        return next(self.parameters()).device if self.offload is None else self.offload.device

    @property
    def is_captured(self) -> bool:
        """Whether the steps of a sampling are replays of a CUDA graph, unless a capture fails."""
        return self.cuda_graph and self.offload is None and self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the backbone's parameters."""
        return next(cast(nn.Module, self.backbone).parameters()).dtype

    def forward(
        self,
        x_t: Tensor,
        t: Tensor,
        text: Text,
        cameras: Cameras,
        novel_cameras: Cameras | None = None,
        novel_pixels: Tensor | None = None,
    ) -> Prediction:
        """Run the modulated model, with gradients for everything trainable.

        Args:
            x_t: ``b n c h w``, noisy latents, scaled as the schedule asks.
            t: ``b n``; 0 for a view given clean; the noisy views of one object share one t.
            text: b prompts.
            cameras: ``b n``.
            novel_cameras: ``b m``, further cameras to render.
            novel_pixels: ``b m r 2``, (x, y) as fractions: render only these pixels of the novel cameras.
        """
        self._check_inputs(x_t, t, cameras)
        skips = self.backbone.encode(x_t, t, text)
        if self.field is None:
            return Prediction(self.backbone.decode(skips, None, t, text))
        with torch.no_grad():
            frozen = self.backbone.decode(skips, None, t, text) if self._needs_foreground_x0() else None
        return self._modulate(skips, frozen, x_t, t, text, cameras, novel_cameras, novel_pixels)

    def frozen(self, x_t: Tensor, t: Tensor, text: Text) -> Tensor:
        """Return the plain 2D model's prediction, ``b n c h w``: n views that do not know of each other."""
        self._begin_step(x_t)
        return self.backbone.decode(self.backbone.encode(x_t, t, text), None, t, text)

    def predict(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras, consistency: float = 1.0) -> Prediction:
        """Return the prediction at consistency strength K: ``frozen + K (modulated - frozen)``.

        K = 1 gives the modulated prediction itself; K = 0 the frozen one, bit for bit, without running the field;
        K > 1 extrapolates. The frozen model runs once at most.

        Raises:
            ValueError: K is negative.
        """
        if consistency < 0:
            raise ValueError(f"consistency must be at least 0, not {consistency}")
        if self.field is None or consistency == 0:
            return Prediction(self.frozen(x_t, t, text))
        self._check_inputs(x_t, t, cameras)
        self._begin_step(x_t)
        skips = self.backbone.encode(x_t, t, text)
        frozen = self.backbone.decode(skips, None, t, text) if consistency != 1 or self._needs_foreground_x0() else None
        prediction = self._modulate(skips, frozen, x_t, t, text, cameras)
        if frozen is None or consistency == 1:
            return prediction
        blended = frozen + consistency * (prediction.modulated - frozen)
        return replace(prediction, modulated=blended)

    def fuse(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Scene:
        """Return the field's scene of noisy views alone: what its renders and its surface come from."""
        self._begin_step(x_t)
        return self._fuse(self.frozen(x_t, t, text) if self._needs_foreground_x0() else None, x_t, t, text, cameras)

    def _begin_step(self, x_t: Tensor) -> None:
        """Where parts take turns, bring those that denoise to the accelerator."""
        if self.offload is not None:
            # Kept from now on, so that no step calls for the autoencoder.
            self.background_latent((x_t.shape[-2], x_t.shape[-1]), x_t.device)
            self.offload.begin_step()

    def _needs_foreground_x0(self) -> bool:
        """Tell whether the view encoder asks for the frozen model's x0 of each view."""
        return self.view_encoder is not None and self.view_encoder.ports.foreground_x0

    def _fuse(self, frozen: Tensor | None, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Scene:
        if self.view_encoder is None or self.field is None:
            raise ValueError("this model has no field")
        if frozen is not None and self._needs_foreground_x0():
            foreground_x0 = self.backbone.predict_x0(frozen, x_t, t) - self.background_latent(
                (x_t.shape[-2], x_t.shape[-1]), x_t.device
            )
            features = self.view_encoder(x_t, t, text, cameras, foreground_x0)
        else:
            features = self.view_encoder(x_t, t, text, cameras)
        offered = self.view_encoder.ports.features
        check_shape(self._who("view_encoder", "features"), features, "b n f h w", **_sizes(x_t), f=offered)
        return self.field.fuse(features, cameras, t.amax(dim=1))

    def background_latent(self, size: tuple[int, int], device: torch.device | None = None) -> Tensor:
        """Return the latent of a white image, ``c h w``: what views show where no object is; encoded once per size."""
        weight = next(iter(cast(nn.Module, self.backbone).parameters()))
        device = self.device if device is None else device
        key = (size, weight.dtype)
        if key not in self._background_latents:
            stride = self.backbone.ports.image_stride
            white = torch.ones(1, 1, 3, size[0] * stride, size[1] * stride, device=device)
            with torch.no_grad():
                self._background_latents[key] = self.backbone.encode_images(white)[0, 0].clone()
        self._background_latents[key] = self._background_latents[key].to(device)
        return self._background_latents[key]

    def forget_background(self) -> None:
        """Encode the white image anew when it is asked for next, because the autoencoder is another one."""
        self._background_latents.clear()

    def background(self, size: tuple[int, int], device: torch.device | None = None) -> Tensor:
        """Return what lies behind the object, ``v h w``: the latent of a white image, or zeros for features."""
        assert self.field is not None
        white = self.background_latent(size, device)
        if self.field.ports.gives == "features":
            return white.new_zeros(self.field.ports.values, *size)
        return white

    def blend(self, rendering: Rendering, size: tuple[int, int], pixels: Tensor | None = None) -> Tensor:
        """Put the background behind a rendering: ``values + (1 - opacity) * background``, ``b m v ...``."""
        background = self.background(size, rendering.values.device)
        if pixels is not None:
            background = _at_pixels(background, pixels)
        return rendering.values + (1 - rendering.opacity).unsqueeze(2) * background

    def _modulate(
        self,
        skips: Skips,
        frozen: Tensor | None,
        x_t: Tensor,
        t: Tensor,
        text: Text,
        cameras: Cameras,
        novel_cameras: Cameras | None = None,
        novel_pixels: Tensor | None = None,
    ) -> Prediction:
        assert self.field is not None and self.lifter is not None and self.injector is not None
        h, w = x_t.shape[-2:]
        scene = self._fuse(frozen, x_t, t, text, cameras)
        rendering = scene.render(cameras, (h, w))
        values = self.field.ports.values
        check_shape(self._who("field", "values"), rendering.values, "b n v h w", **_sizes(x_t), v=values, h=h, w=w)
        check_shape(self._who("field", "opacity"), rendering.opacity, "b n h w", **_sizes(x_t), h=h, w=w)
        x0 = self.blend(rendering, (h, w))
        maps = self.lifter(x0, x_t, t, text)
        self._check_maps("lifter", maps, skips)
        residuals = self.injector(maps, skips)
        self._check_maps("injector", residuals, skips)
        modulated = self.backbone.decode(skips, residuals, t, text)
        novel = novel_x0 = None
        if novel_cameras is not None:
            novel = scene.render(novel_cameras, (h, w), novel_pixels)
            novel_x0 = self.blend(novel, (h, w), novel_pixels)
        return Prediction(modulated, x0, rendering, scene, novel_x0, novel, frozen)

    def _check_inputs(self, x_t: Tensor, t: Tensor, cameras: Cameras) -> None:
        sizes = check_shape("x_t", x_t, "b n c h w", c=self.backbone.ports.latent_channels)
        check_shape("t", t, "b n", b=sizes["b"], n=sizes["n"])
        check_shape("cameras", cameras.intrinsics, "b n four", b=sizes["b"], n=sizes["n"])

    def _check_maps(self, slot: str, maps: tuple[Tensor, ...], skips: Skips) -> None:
        for k, (given, skip) in enumerate(zip(maps, skips.maps, strict=True)):
            views, _, h, w = skip.shape
            check_shape(self._who(slot, f"map {k}"), given, "bn c h w", bn=views, h=h, w=w)

    def _who(self, slot: str, what: str) -> str:
        options = self.components.get(slot)
        return f"{what} of {slot} '{options.type if options else '?'}'"


def _sizes(x_t: Tensor) -> dict[str, int]:
    return {"b": x_t.shape[0], "n": x_t.shape[1]}


def _at_pixels(background: Tensor, pixels: Tensor) -> Tensor:
    """Take the background (``v h w``) at pixels (``b m r 2``, fractions), nearest cell: ``b m v r``."""
    _, h, w = background.shape
    column = (pixels[..., 0] * w).long().clamp(0, w - 1)
    row = (pixels[..., 1] * h).long().clamp(0, h - 1)
    return background.flatten(1)[:, row * w + column].permute(1, 2, 0, 3)
