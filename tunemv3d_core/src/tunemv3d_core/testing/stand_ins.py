"""Tiny neighbours for a component under test, which fill the slots around it. Not meant for training."""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.layers import zero_init
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, MapPort, ViewEncoderPorts
from tunemv3d_core.slots import Aggregator
from tunemv3d_core.types import Rendering, Skips, Text

FEATURES = 6
"""Channels that the stand-in view encoder gives."""

SAMPLES = 12
"""Points of each ray at which the stand-in scene is evaluated."""


class StandInBackbone(nn.Module):
    """A frozen diffusion model of three convolutions down and two up, conditioned on t and the text; random weights."""

    def __init__(self) -> None:
        super().__init__()
        maps = (MapPort(8, 1), MapPort(16, 2), MapPort(16, 2))
        self.ports = BackbonePorts(4, 8, 2, 12, maps, "sample", 1000)
        self.encoder = StandInEncoder()
        self.up, self.out = nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.requires_grad_(False)

    def encode_text(self, prompts: list[str]) -> Text:
        """Encode each letter's code as sinusoids."""
        codes = torch.tensor([[ord(letter) for letter in f"{prompt[:8]:8}"] for prompt in prompts])
        weight = self.out.weight
        waves = torch.sin(codes[..., None] * torch.arange(1, 13) / 7)
        return Text(waves.to(weight.device, weight.dtype))

    def encode_images(self, images: Tensor) -> Tensor:
        """Average red, green, blue and grey over 2 x 2 pixels."""
        shrunk = F.avg_pool2d(images.flatten(0, 1).to(self.out.weight.dtype), 2)
        latents = torch.cat([shrunk, shrunk.mean(1, keepdim=True)], dim=1)
        return torch.unflatten(latents, 0, images.shape[:2])

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Return the first three channels, twice as large."""
        images = F.interpolate(latents.flatten(0, 1)[:, :3], scale_factor=2.0)
        return torch.unflatten(images, 0, latents.shape[:2])

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        """Return alphas of the cosine schedule."""
        return torch.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2).square()

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t."""
        alpha = self.alphas_cumprod(t)[..., None, None, None]
        return (alpha.sqrt() * latents + (1 - alpha).sqrt() * noise).to(latents.dtype)

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return the clean latents, which a field can show, so that every slot can lower the loss."""
        return latents

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return the prediction itself."""
        return prediction

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        """Run the frozen encoder."""
        return Skips(self.encoder(x_t, t, text))

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        """Run the frozen decoder."""
        maps = skips.maps
        if residuals is not None:
            maps = tuple(skip + residual for skip, residual in zip(maps, residuals, strict=True))
        first, second, middle = maps
        up = F.interpolate(F.silu(self.up(second + middle)), size=first.shape[-2:])
        prediction: Tensor = self.out(first + up)
        return torch.unflatten(prediction, 0, t.shape)

    def copy_encoder(self, share: bool = False) -> nn.Module:
        """Return a trainable copy of the encoder, or with ``share`` one that holds the same weights."""
        memo = {id(p): p for p in self.encoder.parameters()} if share else {}
        return copy.deepcopy(self.encoder, memo).requires_grad_(not share)


class StandInEncoder(nn.Module):
    """Three convolutions, the second and third at half the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(4, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(16, 16, 3, padding=1)
        self.time, self.words = nn.Linear(2, 16), nn.Linear(12, 16)

    def forward(self, x: Tensor, t: Tensor, text: Text, hint: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map ``b n c h w`` at t ``b n`` to three maps; a hint ``(b n) 8 h w`` is added after the first layer."""
        waves = torch.stack([torch.sin(t / 500), torch.cos(t / 500)], dim=-1).flatten(0, 1)
        words = self.words(text.per_view(t.shape[1]).tokens.mean(1))
        shift = (self.time(waves.to(x.dtype)) + words)[..., None, None]
        first = self.conv_in(x.flatten(0, 1))
        first = first if hint is None else first + hint
        second = self.down(F.silu(first)) + shift
        return first, second, self.middle(F.silu(second))


class StandInViewEncoder(nn.Module):
    """One convolution."""

    def __init__(self, backbone: BackbonePorts, features: int = FEATURES) -> None:
        super().__init__()
        self.ports = ViewEncoderPorts(features)
        self.layer = nn.Conv2d(backbone.latent_channels, features, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Tensor:
        """Map ``b n c h w`` to ``b n f h w``."""
        return torch.unflatten(self.layer(x_t.flatten(0, 1)), 0, x_t.shape[:2])


class StandInAggregator(nn.Module):
    """The mean over all views of their features at a point."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.channels = features

    def forward(self, features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
        """Map features ``b n f h w`` at points ``b p 3`` to ``b p f``."""
        pixels, _ = cameras.project(points[:, None])
        grid = (pixels * 2 - 1).to(features.dtype).flatten(0, 1)[:, None]
        seen = F.grid_sample(features.flatten(0, 1), grid, align_corners=False)[:, :, 0]
        return torch.unflatten(seen, 0, features.shape[:2]).mean(1).mT


class StandInField(nn.Module):
    """A ball that the aggregated features dent, and values linear in them, in the point and in the noise level."""

    def __init__(self, ports: FieldPorts, aggregator: Aggregator | None = None) -> None:
        super().__init__()
        self.ports = ports
        self.aggregator = aggregator or StandInAggregator(ports.features)
        self.layer = nn.Linear(self.aggregator.channels + 4, 1 + ports.values)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> "StandInScene":
        """Return a scene; nothing is computed before it is rendered."""
        return StandInScene(self, features, cameras, t)


@dataclass
class StandInScene:
    """Scene rendered at even samples of each ray's way through the unit sphere; its density is one of the distance."""

    field: StandInField
    features: Tensor
    cameras: Cameras
    t: Tensor

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        """Render as every scene does; it has no normals."""
        rays = cameras.rays(size, pixels)
        near, far, hit = intersect_sphere(rays)
        fractions = (torch.arange(SAMPLES, device=near.device) + 0.5) / SAMPLES
        depths = near[..., None] + (far - near)[..., None] * fractions
        points = rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]
        distance, values = self._evaluate(points.flatten(1, -2))
        density = 20 * torch.sigmoid(-20 * torch.unflatten(distance, 1, points.shape[1:-1]))
        values = torch.unflatten(values, 1, points.shape[1:-1])
        length = (far - near) * rays.directions.norm(dim=-1) * hit / SAMPLES
        log_step = -density * length[..., None]
        log_transmittance = log_step.cumsum(-1)
        weights = (log_transmittance - log_step).exp() * -torch.expm1(log_step)
        opacity = weights.sum(-1)

        def as_maps(z: Tensor) -> Tensor:
            """Convert ``b m r`` to ``b m h w`` unless pixels were given."""
            return z if pixels is not None else torch.unflatten(z, -1, size)

        return Rendering(
            as_maps((weights[..., None] * values).sum(-2).mT).to(self.features.dtype),
            as_maps(opacity).to(self.features.dtype),
            as_maps((weights * depths).sum(-1) / opacity.clamp(min=1e-6)),
        )

    def signed_distance(self, points: Tensor) -> Tensor:
        """Return ``b p`` at points ``b p 3``."""
        return self._evaluate(points)[0]

    def losses(self) -> dict[str, Tensor]:
        """Return none."""
        return {}

    def _evaluate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return signed distances ``b p`` and values ``b p v`` at points ``b p 3``, both float32."""
        seen = self.field.aggregator(self.features, self.cameras, points)
        level = (self.t.to(points) / 1000)[:, None, None].expand(*points.shape[:-1], 1)
        outputs = self.field.layer(torch.cat([seen, points, level], -1).to(self.field.layer.weight.dtype)).float()
        return points.float().norm(dim=-1) - 0.6 + 0.2 * outputs[..., 0].tanh(), outputs[..., 1:]


class StandInLifter(nn.Module):
    """One convolution per map, after average pooling."""

    def __init__(self, backbone: BackbonePorts, field: FieldPorts) -> None:
        super().__init__()
        self.ports = LifterPorts(field.gives, field.values, backbone.residuals)
        channels = field.values + backbone.latent_channels
        self.layers = nn.ModuleList(nn.Conv2d(channels, m.channels, 1) for m in backbone.residuals)

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        """Map values ``b n v h w`` and x_t ``b n c h w`` to L maps."""
        both = torch.cat([values, x_t], dim=2).flatten(0, 1)
        shrunk = {m.stride: F.avg_pool2d(both, m.stride, ceil_mode=True) for m in self.ports.maps}
        return tuple(layer(shrunk[m.stride]) for layer, m in zip(self.layers, self.ports.maps, strict=True))


class StandInInjector(nn.Module):
    """Convolutions that start at zero."""

    def __init__(self, maps: tuple[MapPort, ...], residuals: tuple[MapPort, ...]) -> None:
        super().__init__()
        self.ports = InjectorPorts(maps, residuals)
        pairs = zip(maps, residuals, strict=True)
        self.layers = zero_init(nn.ModuleList(nn.Conv2d(m.channels, r.channels, 1) for m, r in pairs))

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        """Map L maps to L residuals."""
        return tuple(layer(m) for layer, m in zip(self.layers, maps, strict=True))
