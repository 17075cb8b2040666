"""The smallest components that fill every slot, for tests of what core does with them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, MapPort, ViewEncoderPorts
from tunemv3d_core.types import Rendering, Skips, Text

MAPS = (MapPort(6, 1), MapPort(8, 2))


class TinyBackbone(nn.Module):
    """Two convolutions down, two up; white is encoded as 0.25."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = BackbonePorts(4, 8, 2, 5, MAPS, "epsilon", 1000)
        self.first, self.down = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.up, self.last = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.requires_grad_(False)
        self.encoded = self.decoded = 0

    def encode_images(self, images: Tensor) -> Tensor:
        b, n, _, h, w = images.shape
        return torch.full((b, n, 4, h // 2, w // 2), 0.25) * images.mean()

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        self.encoded += 1
        first = self.first(x_t.flatten(0, 1)) + t.reshape(-1, 1, 1, 1) / 1000
        return Skips((first, self.down(first)), tuple(x_t.shape[:2]))

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        self.decoded += 1
        first, down = skips.maps if residuals is None else [s + r for s, r in zip(skips.maps, residuals, strict=True)]
        up = nn.functional.interpolate(self.up(down), scale_factor=2.0)
        return self.last(first + up).unflatten(0, skips.state)

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t - prediction

    def fingerprint(self) -> dict[str, str]:
        return {"tiny.safetensors": "0" * 64}


class TinyEncoder(nn.Module):
    def __init__(self, features: int = 3) -> None:
        super().__init__()
        self.ports, self.layer = ViewEncoderPorts(features), nn.Conv2d(4, features, 1)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Tensor:
        return self.layer(x_t.flatten(0, 1)).unflatten(0, x_t.shape[:2])


@dataclass
class TinyScene:
    values: Tensor
    opacity: float = 0.5

    def render(self, cameras: Cameras, size: Any, pixels: Tensor | None = None, normals: bool = False) -> Rendering:
        b, m = cameras.shape
        grid = size if pixels is None else (pixels.shape[2],)
        values = self.values.mean(1, keepdim=True).reshape(b, 1, -1, *[1] * len(grid)).expand(b, m, -1, *grid)
        opacity = torch.full((b, m, *grid), self.opacity)
        return Rendering(values, opacity, opacity)

    def losses(self) -> dict[str, Tensor]:
        return {}


class TinyField(nn.Module):
    def __init__(self, features: int = 3) -> None:
        super().__init__()
        self.ports, self.layer = FieldPorts(features, "latents", 4), nn.Linear(features, 4)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> TinyScene:
        return TinyScene(self.layer(features.mean((-2, -1))) + t[:, None, None] / 1000)


class TinyLifter(nn.Module):
    def __init__(self, values: int = 4) -> None:
        super().__init__()
        self.ports, self.layer = LifterPorts("latents", values, MAPS), nn.Conv2d(8, 14, 1)

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        first, second = self.layer(torch.cat([values, x_t], 2).flatten(0, 1)).split([6, 8], 1)
        return first, second[..., ::2, ::2]


class TinyInjector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = InjectorPorts(MAPS, MAPS)
        self.layers = nn.ModuleList(nn.Conv2d(m.channels, m.channels, 1) for m in MAPS)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        return tuple(layer(m) for layer, m in zip(self.layers, maps, strict=True))


def tiny_model(**replaced: nn.Module) -> MultiviewDiffusion:
    torch.manual_seed(0)
    parts: dict[str, nn.Module] = {
        "backbone": TinyBackbone(),
        "view_encoder": TinyEncoder(),
        "field": TinyField(),
        "lifter": TinyLifter(),
        "injector": TinyInjector(),
    }
    parts.update(replaced)
    return MultiviewDiffusion(**parts, components={slot: ComponentSpec(type=f"tiny-{slot}") for slot in parts})


def tiny_inputs(b: int = 2, n: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(2)
    cameras = Cameras.orbit(n)
    return {
        "x_t": torch.randn(b, n, 4, 8, 8, generator=generator),
        "t": torch.full((b, n), 500.0),
        "text": Text(torch.randn(b, 7, 5, generator=generator)),
        "cameras": Cameras(cameras.camera_to_world.expand(b, n, 4, 4), cameras.intrinsics.expand(b, n, 4)),
    }
