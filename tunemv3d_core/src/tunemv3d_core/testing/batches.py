"""Inputs of a component in a check: everything that its slot may need, drawn at random for given sizes."""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_core.ports import MapPort
from tunemv3d_core.slots import Backbone
from tunemv3d_core.types import Text

POINTS, PIXELS = 20, 5
PROMPTS = ("a red chair", "a stool", "a round table", "")


@dataclass(frozen=True)
class Size:
    """Sizes: b objects, n input views, m query views, h x w latents."""

    b: int = 2
    n: int = 3
    m: int = 2
    h: int = 8
    w: int = 8


UNEVEN = Size(1, 2, 1, 7, 10)
"""Size of latents that no stride divides."""


INPUTS = {"field": "features", "aggregator": "features", "lifter": "values", "injector": "maps", "backbone": "maps"}
"""Input of a slot that the slot before it gives."""


@dataclass(frozen=True)
class Channels:
    """Channels that the neighbours give, and the stride: latent cells per cell of the features, along each axis."""

    features: int
    values: int
    maps: tuple[MapPort, ...]
    stride: int


@dataclass(frozen=True)
class Batch:
    """The inputs of every slot.

    Attributes:
        size: sizes of all below.
        x_t: ``b n c h w``.
        foreground_x0: ``b n c h w``, the frozen model's x0 minus the background's latent.
        t: ``b n``, one for all views of an object.
        text: b prompts.
        cameras: ``b n``.
        novel: ``b m``.
        pixels: ``b m r 2``, centres of latent cells.
        points: ``b p 3``, inside the unit sphere.
        features: ``b n f h w``.
        values: ``b n v h w``.
        maps: L of ``b n c_k h_k w_k``.
    """

    size: Size
    x_t: Tensor
    foreground_x0: Tensor
    t: Tensor
    text: Text
    cameras: Cameras
    novel: Cameras
    pixels: Tensor
    points: Tensor
    features: Tensor
    values: Tensor
    maps: tuple[Tensor, ...]

    def to(self, device: torch.device) -> "Batch":
        """Move all tensors to a device."""
        names = [f.name for f in fields(self) if f.name not in ("size", "text", "maps")]
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in names}
        text, maps = self.text.map(lambda x: x.to(device)), tuple(m.to(device) for m in self.maps)
        return replace(self, text=text, maps=maps, **moved)

    def permuted(self, order: list[int]) -> "Batch":
        """Reorder the input views."""
        names = ("x_t", "foreground_x0", "t", "cameras", "features", "values")
        turned: dict[str, Any] = {name: getattr(self, name)[:, order] for name in names}
        return replace(self, maps=tuple(m[:, order] for m in self.maps), **turned)

    def only_view(self, index: int) -> "Batch":
        """Select one input view of every object."""
        return replace(self.permuted([index]), size=replace(self.size, n=1))

    def alone(self, index: int) -> "Batch":
        """Select one object."""
        only = slice(index, index + 1)
        names = [f.name for f in fields(self) if f.name not in ("size", "text", "maps")]
        cut: dict[str, Any] = {name: getattr(self, name)[only] for name in names}
        text = self.text.map(lambda x: x[only])
        return replace(self, size=replace(self.size, b=1), text=text, maps=tuple(m[only] for m in self.maps), **cut)


def draw(
    backbone: Backbone, channels: Channels, size: Size, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Batch:
    """Draw a batch of random numbers; geometry and t are float32 whatever the dtype."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    b, n, m, h, w = size.b, size.n, size.m, size.h, size.w
    latents = (b, n, backbone.ports.latent_channels, h, w)
    centres = pixel_centres((h, w))
    chosen = torch.randint(len(centres), (b, m, PIXELS), generator=generator)
    directions = torch.randn(b, POINTS, 3, generator=generator)
    # No camera repeats another, and objects have cameras of their own.
    seen = [Cameras.orbit(n, elevation=[15.0 + 9 * k for k in range(n)], azimuth=20.0 * i) for i in range(b)]
    unseen = [Cameras.orbit(m, elevation=-12.0, azimuth=35.0 + 20.0 * i) for i in range(b)]
    return Batch(
        size=size,
        x_t=noise(*latents),
        foreground_x0=noise(*latents),
        t=torch.tensor([700.0, 250.5, 30.0, 990.0])[:b, None].expand(b, n),
        text=backbone.encode_text(list(PROMPTS[:b])),
        cameras=Cameras.cat([c[None] for c in seen]),
        novel=Cameras.cat([c[None] for c in unseen]),
        pixels=centres[chosen],
        points=directions / directions.norm(dim=-1, keepdim=True) * torch.rand(b, POINTS, 1, generator=generator),
        features=noise(b, n, channels.features, -(-h // channels.stride), -(-w // channels.stride)),
        values=noise(b, n, channels.values, h, w),
        maps=tuple(noise(b, n, k.channels, -(-h // k.stride), -(-w // k.stride)) for k in channels.maps),
    )


def asking(batch: Batch, name: str, zero: bool = False) -> tuple[Batch, tuple[Tensor, ...]]:
    """Return a batch with one input, one tensor or several, that asks for gradients, and that input; ``zero``: of 0."""
    given = getattr(batch, name)
    several = given if isinstance(given, tuple) else (given,)
    leaves = tuple((torch.zeros_like(each) if zero else each.clone()).requires_grad_() for each in several)
    passed = tuple(leaf.clone() for leaf in leaves)  # leaves cannot be edited, which another check asks
    changed: dict[str, Any] = {name: passed if isinstance(given, tuple) else passed[0]}
    return replace(batch, **changed), leaves
