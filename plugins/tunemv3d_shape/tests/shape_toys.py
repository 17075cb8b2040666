"""Shapes whose formulas are known, pictures of them by an independent renderer, and a sampled object's folder."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import ModelSpec, RunSpec, TrainSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.io.posed_images import PosedImages, write_object
from tunemv3d_core.io.samples import write_scene
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, ViewEncoderPorts
from tunemv3d_core.slots import Pictures
from tunemv3d_core.types import Text


class Formula:
    """A signed distance by a formula, with no colours of its own; counts what it is asked."""

    def __init__(self, distance: Callable[[Tensor], Tensor], seen: Callable[[Cameras], Pictures] | None = None) -> None:
        self.distance, self.seen, self.asked = distance, seen, 0

    def signed_distance(self, points: Tensor) -> Tensor:
        self.asked += points.shape[1]
        return self.distance(points)

    def pictures(self, cameras: Cameras) -> Pictures | None:
        return None if self.seen is None else self.seen(cameras)


def sphere(radius: float, centre: tuple[float, float, float] = (0, 0, 0)) -> Formula:
    return Formula(lambda p: (p - torch.tensor(centre)).norm(dim=-1) - radius)


def torus(large: float, small: float) -> Formula:
    return Formula(lambda p: torch.stack([p[..., :2].norm(dim=-1) - large, p[..., 2]], -1).norm(dim=-1) - small)


def box(half: tuple[float, float, float]) -> Formula:
    def distance(p: Tensor) -> Tensor:
        beyond = p.abs() - torch.tensor(half)
        return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)

    return Formula(distance)


def union(*shapes: Formula) -> Formula:
    return Formula(lambda p: torch.stack([s.distance(p) for s in shapes]).amin(0))


def stripes(points: np.ndarray) -> np.ndarray:
    """A smooth colour for every place: what painted toys look like, ``... 3`` in [0, 1]."""
    return 0.5 + 0.4 * np.stack(
        [np.sin(4 * points[..., 0]), np.cos(3 * points[..., 1]), np.sin(5 * points[..., 2])], -1
    )


def seen(
    distance: Callable[[np.ndarray], np.ndarray],
    cameras: Cameras,
    size: int,
    colour: Callable[[np.ndarray], np.ndarray] = stripes,
) -> Pictures:
    """Pictures of a signed distance by sphere tracing in float64 NumPy: one ray per pixel, no shading."""
    places = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(places, places)
    colours, alphas = [], []
    for pose, (fx, fy, cx, cy) in zip(
        cameras.camera_to_world.double().numpy(), cameras.intrinsics.double().numpy(), strict=True
    ):
        ahead = np.stack([(x - cx) / fx, (y - cy) / fy, np.ones_like(x)], -1) @ pose[:3, :3].T
        ahead /= np.linalg.norm(ahead, axis=-1, keepdims=True)
        gone = np.full(x.shape, 1.0)
        for _ in range(60):
            gone = np.minimum(gone + distance(pose[:3, 3] + gone[..., None] * ahead), 5.0)
        points = pose[:3, 3] + gone[..., None] * ahead
        hit = distance(points) < 1e-3
        colours.append(np.where(hit[..., None], colour(points), 1.0))
        alphas.append(hit)
    pixels = torch.from_numpy(np.stack(colours)).float().movedim(-1, 1).contiguous()
    return Pictures(pixels, torch.from_numpy(np.stack(alphas)).float(), cameras)


class BlindScene:
    """Shows nothing, and has no surface."""

    def render(self, *given: object, **options: object) -> None:
        raise NotImplementedError

    def losses(self) -> dict[str, Tensor]:
        return {}


class BlindBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports, self.weight = BackbonePorts(4, 2, 1, 4, (), "sample", 1000), nn.Parameter(torch.zeros(1))

    def encode_text(self, prompts: list[str]) -> Text:
        return Text(torch.zeros(len(prompts), 2, 4))

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return latents + noise


class BlindEncoder(nn.Module):
    ports = ViewEncoderPorts(4)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Tensor:
        return x_t


class BlindField(nn.Module):
    ports = FieldPorts(4, "latents", 4)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> BlindScene:
        return BlindScene()


class BlindLifter(nn.Module):
    ports = LifterPorts("latents", 4, ())


class BlindInjector(nn.Module):
    ports = InjectorPorts((), ())


def blind_model() -> MultiviewDiffusion:
    """A model whose scenes have no surface."""
    return MultiviewDiffusion(BlindBackbone(), BlindEncoder(), BlindField(), BlindLifter(), BlindInjector())


SPEC = RunSpec(
    name="blind",
    model=ModelSpec(backbone=ComponentSpec(type="blind")),
    data=ComponentSpec(type="none"),
    train=TrainSpec(steps=1),
)


def numpy_of(shape: Formula) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: shape.distance(torch.from_numpy(points)).numpy()


def write_sample(folder: Path, pictures: Pictures, **manifest: object) -> Path:
    """A sampled object's folder, as ``tunemv3d sample`` writes it."""
    (folder / "views").mkdir(parents=True)
    files = tuple(f"views/{i:03d}.png" for i in range(len(pictures.alpha)))
    for file, colours, alpha in zip(files, pictures.colours, pictures.alpha, strict=True):
        rgba = torch.cat([colours, alpha[None]]).movedim(0, -1)
        Image.fromarray((rgba * 255).round().byte().numpy()).save(folder / file)
    write_object(folder, PosedImages(folder.name, pictures.cameras, pictures.size, ("a toy",), files))
    write_scene(folder, torch.zeros(len(files), 4, 2, 2), pictures.cameras)
    content = {"prompt": "a toy", "seed": 3, "checkpoint": "toy", "files": {"views": list(files)}, **manifest}
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder
