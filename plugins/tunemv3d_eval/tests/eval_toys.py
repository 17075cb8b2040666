"""Shapes whose silhouettes are known, and a model that knows the shape, for tests of the measures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, MapPort, ViewEncoderPorts
from tunemv3d_core.types import Rendering, Skips, Text

RED = (0.8, 0.1, 0.1)


def chair(leg: float = 0.08) -> Tensor:
    """Seat, back and four legs of width ``leg``: boxes ``p 2 3`` (low and high corner)."""
    boxes = [[[-0.4, -0.4, 0], [0.4, 0.4, 0.06]], [[-0.4, 0.35, 0], [0.4, 0.4, 0.7]]]
    for x in (-0.4, 0.4 - leg):
        for y in (-0.4, 0.4 - leg):
            boxes.append([[x, y, -0.6], [x + leg, y + leg, 0]])
    return torch.tensor(boxes)


def boxes_seen(boxes: Tensor, cameras: Cameras, size: int) -> Tensor:
    """Silhouettes ``... size size`` of boxes by ray tests at pixel centres."""
    rays = cameras.rays((size, size))
    origins, directions = rays.origins[..., None, :], rays.directions[..., None, :]
    one, other = (boxes[:, 0] - origins) / directions, (boxes[:, 1] - origins) / directions
    near, far = torch.minimum(one, other).amax(-1), torch.maximum(one, other).amin(-1)
    return (near < far).any(-1).unflatten(-1, (size, size))


def sphere_seen(radius: float, cameras: Cameras, size: int) -> Tensor:
    return intersect_sphere(cameras.rays((size, size)), radius)[2].unflatten(-1, (size, size))


def painted(silhouettes: Tensor, colour: tuple[float, float, float] = RED) -> Tensor:
    """Pictures ``... 3 H W`` in [-1, 1]: the silhouette in one colour on white."""
    shade = torch.tensor(colour)[:, None, None] * 2 - 1
    return torch.where(silhouettes[..., None, :, :], shade, torch.ones(3, 1, 1))


class ToyScheduler:
    """Takes the prediction for the clean picture."""

    init_noise_sigma = 1.0

    def set_timesteps(self, steps: int, device: Any = None) -> None:
        self.timesteps = torch.linspace(999, 0, steps)

    def scale_model_input(self, x: Tensor, t: Tensor) -> Tensor:
        return x

    def step(self, prediction: Tensor, t: Tensor, x: Tensor) -> Any:
        return type("Step", (), {"prev_sample": prediction})


class ToyBackbone(nn.Module):
    """Latents are pictures. Frozen, every view shows the chair from a camera of its own choice; else the residual."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.ports = BackbonePorts(3, size, 1, 4, (MapPort(3, 1),), "sample", 1000)
        self.weight = nn.Parameter(torch.zeros(1))

    def fingerprint(self) -> dict[str, str]:
        return {"toy": "0"}

    def encode_text(self, prompts: list[str]) -> Text:
        return Text(torch.zeros(len(prompts), 2, 4))

    def encode_images(self, images: Tensor) -> Tensor:
        return images

    def decode_latents(self, latents: Tensor) -> Tensor:
        return latents

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return latents + 1e-6 * t[..., None, None, None] * noise

    def scheduler(self, name: str = "") -> ToyScheduler:
        return ToyScheduler()

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        return Skips((x_t.flatten(0, 1),))

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        b, n = t.shape
        if residuals is not None:
            return residuals[0].unflatten(0, (b, n))
        chosen = [3 * i % n for i in range(n)]
        cameras = Cameras.orbit(n, elevation=50, azimuth=20)[chosen]
        return painted(boxes_seen(chair(), cameras, self.ports.latent_size)).expand(b, n, -1, -1, -1)


class ToyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = ViewEncoderPorts(3)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Tensor:
        return x_t


@dataclass
class ChairScene:
    """The chair, whatever the views were."""

    def render(self, cameras: Cameras, size: Any, pixels: Any = None, normals: bool = False) -> Rendering:
        seen = boxes_seen(chair(), cameras, size[0])
        return Rendering(painted(seen) * seen[:, :, None], seen.float(), seen.float())


@dataclass
class EmptyScene:
    def render(self, cameras: Cameras, size: Any, pixels: Any = None, normals: bool = False) -> Rendering:
        nothing = torch.zeros(*cameras.shape, *size)
        return Rendering(nothing[:, :, None].expand(-1, -1, 3, -1, -1), nothing, nothing)


@dataclass
class NearestScene:
    """Shows, from any camera, the fused view whose camera is nearest."""

    features: Tensor
    cameras: Cameras

    def render(self, cameras: Cameras, size: Any, pixels: Any = None, normals: bool = False) -> Rendering:
        nearest = torch.cdist(cameras.origins, self.cameras.origins).argmin(-1)
        values = self.features[torch.arange(len(nearest))[:, None], nearest]
        return Rendering(values, torch.ones_like(values[:, :, 0]), torch.ones_like(values[:, :, 0]))


class ToyField(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.ports, self.kind = FieldPorts(3, "latents", 3), kind

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Any:
        return {"chair": ChairScene(), "empty": EmptyScene()}.get(self.kind) or NearestScene(features, cameras)


class ToyLifter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = LifterPorts("latents", 3, (MapPort(3, 1),))

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        return (values.flatten(0, 1),)


class ToyInjector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = InjectorPorts((MapPort(3, 1),), (MapPort(3, 1),))

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        return maps


def mean_of(report: Any, figure: str, k: float | None, control: str | None = None, label: str = "toy") -> float | None:
    """A mean of an evaluation's report."""
    (found,) = [
        mean["mean"]
        for mean in report["means"]
        if (mean["checkpoint"], mean["figure"], mean["consistency"], mean["control"]) == (label, figure, k, control)
    ]
    value: float | None = found
    return value


def rows_of(report: Any, k: float | None, control: str | None = None) -> list[Any]:
    """The rows of an evaluation's report at K."""
    return [row for row in report["rows"] if (row["consistency"], row["control"]) == (k, control)]


def toy_checkpoint(folder: Path) -> str:
    """A folder that looks like a checkpoint, as far as an evaluation looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").write_text('{"files": {"model.safetensors": "00"}}')
    return str(folder)


def toy_model(kind: str = "chair", size: int = 48) -> MultiviewDiffusion:
    """A model whose field is the chair ("chair"), nothing ("empty"), or the nearest fused view ("nearest")."""
    return MultiviewDiffusion(ToyBackbone(size), ToyEncoder(), ToyField(kind), ToyLifter(), ToyInjector())
