"""Sampled objects on disk, and a model whose field is a ball, for tests of the page and of the viewer."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from torch import Tensor, nn
from trimesh.exchange.gltf import export_glb
from trimesh.visual.material import PBRMaterial

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import ModelSpec, RunSpec, SampleSpec, TrainSpec, ViewsSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, MapPort, ViewEncoderPorts
from tunemv3d_core.types import Rendering, Skips, Text

MAPS = (MapPort(3, 1),)
SIZE = 16


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_object(folder: Path, prompt: str, seed: int = 0, views: int = 4, mesh: bool = True) -> Path:
    """One sampled object as ``tunemv3d sample --strip --video --mesh`` leaves it, in noise."""
    (folder / "views").mkdir(parents=True)
    names = [f"views/{i:03d}.png" for i in range(views)]
    for i, name in enumerate(names):
        pixels = noise(seed + i, 24, 24, 4)
        pixels[..., 3] = 255
        Image.fromarray(pixels).save(folder / name)
    files: dict[str, Any] = {"views": names, "strip": "strip.png"}
    Image.fromarray(noise(seed, 32, 128, 3)).save(folder / "strip.png")
    for kind, size in (("strip_animation", (32, 16)), ("turntable", (24, 48))):
        frames = [Image.fromarray(noise(seed + i, *size, 3)) for i in range(3)]
        files[kind] = f"{kind}.webp"
        frames[0].save(folder / files[kind], save_all=True, append_images=frames[1:], duration=80, loop=0)
    if mesh:
        files["mesh"] = "object.glb"
        (folder / "object.glb").write_bytes(textured_ball(0.5))
    manifest = {
        **{"prompt": prompt, "seed": seed, "checkpoint": "nowhere", "spec_id": "0" * 64, "seconds": 1.5},
        **{"num_inference_steps": 4, "guidance_scale": 5.0, "consistency": 1.5, "files": files},
        "data": {"objects": 8, "licences": {"CC0-1.0": 8}, "creators": {"Ada <Lovelace>": 8}},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def small_stills(patch: pytest.MonkeyPatch) -> None:
    """Draw meshes' stills quickly, in 48 pixels; ``test_show_poster`` asks for whole ones."""
    patch.setattr("tunemv3d_show.poster.SIDE", 48)
    patch.setattr("tunemv3d_show.poster.POINTS", 20_000)


def textured_ball(radius: float, texture: int = 64) -> bytes:
    """A GLB with normals, texture coordinates and a PNG, as ``tunemv3d mesh`` exports it."""
    ball = trimesh.creation.icosphere(subdivisions=2, radius=radius)
    around = np.arctan2(ball.vertices[:, 1], ball.vertices[:, 0]) / (2 * np.pi) + 0.5
    uv = np.stack([around, ball.vertices[:, 2] / (2 * radius) + 0.5], -1)
    red_to_green = np.linspace(0, 255, texture)[None, :, None] * np.array([-1, 1, 0]) + np.array([255, 0, 40])
    pixels = np.broadcast_to(red_to_green, (texture, texture, 3)).astype(np.uint8)
    material = PBRMaterial(baseColorTexture=Image.fromarray(pixels), metallicFactor=0.0, roughnessFactor=0.9)
    ball.visual = trimesh.visual.TextureVisuals(uv, material=material)
    return bytes(export_glb(trimesh.Scene({"object": ball}), include_normals=True))


def write_run(folder: Path, lr: float = 0.1) -> Path:
    """A run's folder without checkpoints."""
    (folder / "previews").mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({"name": folder.name, "optimizer": {"lr": lr, "eps": 1}}))
    lines = [{"step": i, "seconds": i, "loss": 1 / (i + 1), "held_out/neus/t=50": i, "lr": lr} for i in range(5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    Image.fromarray(noise(9, 20, 30, 3)).save(folder / "previews/step-000004.png")
    return folder


class Scheduler:
    """Goes a step of the way from noise to the prediction, which is of the clean views."""

    init_noise_sigma = 1.0

    def set_timesteps(self, steps: int, device: Any = None) -> None:
        self.timesteps = torch.linspace(999, 0, steps)

    def scale_model_input(self, latents: Tensor, t: Tensor) -> Tensor:
        return latents

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor) -> Any:
        part = 1 / (1 + float((self.timesteps < t).sum()))
        return type("Step", (), {"prev_sample": latents + part * (prediction - latents)})


class Backbone(nn.Module):
    """Latents are pictures; the frozen model predicts grey, as bright as the prompt is long."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = BackbonePorts(3, SIZE, 1, 4, MAPS, "sample", 1000)
        self.weight = nn.Parameter(torch.zeros(1))

    def encode_text(self, prompts: list[str]) -> Text:
        return Text(torch.stack([torch.full((2, 4), min(1.0, len(prompt) / 40)) for prompt in prompts]))

    def encode_images(self, images: Tensor) -> Tensor:
        return images

    def decode_latents(self, latents: Tensor) -> Tensor:
        return latents

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return latents + 1e-6 * t[..., None, None, None] * noise

    def scheduler(self, name: str = "") -> Scheduler:
        return Scheduler()

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        return Skips((x_t.flatten(0, 1),), tuple(x_t.shape[:2]))

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        grey = text.tokens.mean((1, 2))[:, None, None, None, None].expand(*t.shape, 3, SIZE, SIZE)
        return grey if residuals is None else grey + residuals[0].unflatten(0, t.shape)

    def fingerprint(self) -> dict[str, str]:
        return {}


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = ViewEncoderPorts(3)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Tensor:
        return x_t


@dataclass
class Ball:
    """A red ball, smaller the noisier the views are."""

    radius: float

    def signed_distance(self, points: Tensor) -> Tensor:
        return points.norm(dim=-1) - self.radius

    def render(self, cameras: Cameras, size: Any, pixels: Any = None, normals: bool = False) -> Rendering:
        rays = cameras.rays(size, pixels)
        near, _, hit = intersect_sphere(rays, self.radius)
        at = (rays.origins + near[..., None] * rays.directions) / self.radius
        red = torch.tensor([1.0, -1.0, -1.0])[:, None] * hit[:, :, None].float()
        maps = (red, hit.float(), near * hit, (at * hit[..., None]).movedim(-1, -2))
        values, opacity, depth, facing = maps if pixels is not None else (z.unflatten(-1, size) for z in maps)
        return Rendering(values, opacity, depth, facing if normals else None)


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = FieldPorts(3, "latents", 3)

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> Ball:
        return Ball(0.7 - 0.4 * float(t.max()) / 1000)


class Lifter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = LifterPorts("latents", 3, MAPS)

    def forward(self, values: Tensor, x_t: Tensor, t: Tensor, text: Text) -> tuple[Tensor, ...]:
        return (values.flatten(0, 1),)


class Injector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports = InjectorPorts(MAPS, MAPS)

    def forward(self, maps: tuple[Tensor, ...], skips: Skips) -> tuple[Tensor, ...]:
        return maps


def ball_model(field: bool = True) -> MultiviewDiffusion:
    parts = (Encoder(), Field(), Lifter(), Injector()) if field else ()
    return MultiviewDiffusion(Backbone(), *parts).eval()


SPEC = RunSpec(
    name="ball",
    model=ModelSpec(backbone=ComponentSpec(type="ball")),
    data=ComponentSpec(type="none"),
    views=ViewsSpec(inputs=4),
    train=TrainSpec(steps=1),
    sample=SampleSpec(steps=5, guidance=2.0, consistency=1.0),
)
