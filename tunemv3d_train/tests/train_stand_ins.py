"""A tiny world for the trainer: components for every slot, a distribution that offers them, a dataset, a spec."""

import hashlib
import json
import os
import tarfile
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.io.posed_images import PosedImages, read_manifest, write_manifest, write_object
from tunemv3d_core.io.shards import PackedLatents, PackedObject, Shard, ShardIndex, write_index
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, MapPort, ViewEncoderPorts
from tunemv3d_core.types import Rendering, Skips, Text
from tunemv3d_train.batch_sampler import BatchPlan

MAPS = (MapPort(6, 1), MapPort(8, 2))
SIZE = 16


class TinyBackboneSpec(ComponentSpec):
    trainable: bool = False


class TinyBackbone(nn.Module):
    """Latents are 3-channel pictures shrunk by 2."""

    def __init__(self, trainable: bool = False) -> None:
        super().__init__()
        self.ports = BackbonePorts(3, SIZE // 2, 2, 5, MAPS, "epsilon", 1000)
        self.first, self.down = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.up, self.last = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 3, 3, padding=1)
        self.requires_grad_(trainable)
        self.register_buffer("table", torch.linspace(0.999, 0.01, 1000), persistent=False)

    def encode_text(self, prompts: list[str]) -> Text:
        return Text(torch.stack([torch.full((2, 5), len(p) / 50, device=self.table.device) for p in prompts]))

    def encode_images(self, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images.flatten(0, 1), 2).unflatten(0, images.shape[:2])

    def decode_latents(self, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(latents.flatten(0, 1), scale_factor=2.0).unflatten(0, latents.shape[:2])

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        return self.table[t.long()]

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha = self.alphas_cumprod(t)[..., None, None, None]
        return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        shift = t.flatten() / 1000 + text.per_view(x_t.shape[1]).tokens.mean((1, 2))
        first = self.first(x_t.flatten(0, 1)) + shift[:, None, None, None]
        return Skips((first, self.down(first)), tuple(x_t.shape[:2]))

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        first, down = skips.maps if residuals is None else [s + r for s, r in zip(skips.maps, residuals, strict=True)]
        up = nn.functional.interpolate(self.up(down), scale_factor=2.0)
        return self.last(first + up).unflatten(0, skips.state)

    def latent_key(self) -> str:
        return "tiny"

    def fingerprint(self) -> dict[str, str]:
        return {"tiny.safetensors": "0" * 64}

    def scheduler(self, name: str = "") -> "TinySolver":
        if name:
            raise ComponentError(f"no scheduler '{name}'")
        return TinySolver(self.table)


class TinySolver:
    """DDIM for epsilon predictions."""

    init_noise_sigma = 1.0

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def set_timesteps(self, steps: int, device: Any = None) -> None:
        if steps > 1000:
            raise ValueError("more steps than timesteps")
        self.timesteps = torch.linspace(999, 0, steps).long().to(device)

    def scale_model_input(self, latents: Tensor, t: Tensor) -> Tensor:
        return latents

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor) -> SimpleNamespace:
        at = int((self.timesteps == t).nonzero()[0])
        later = self.table[self.timesteps[at + 1]] if at + 1 < len(self.timesteps) else self.table.new_tensor(1.0)
        clean = (latents - (1 - self.table[t]).sqrt() * prediction) / self.table[t].sqrt()
        return SimpleNamespace(prev_sample=later.sqrt() * clean + (1 - later).sqrt() * prediction)


class TinyEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports, self.layer = ViewEncoderPorts(4), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Tensor:
        return self.layer(x_t.flatten(0, 1)).unflatten(0, x_t.shape[:2])


@dataclass
class TinyScene:
    """Values that depend on the views' mean and the camera's place."""

    field: "TinyField"
    merged: Tensor

    def render(self, cameras: Cameras, size: Any, pixels: Tensor | None = None, normals: bool = False) -> Rendering:
        rays = cameras.rays(size, pixels)
        asked = torch.cat([rays.directions, self.merged[:, None, None].expand(*rays.directions.shape[:3], 4)], -1)
        given = self.field.head(asked)
        opacity = given[..., 3].sigmoid()
        values = given[..., :3].movedim(-1, 2) * opacity[:, :, None]
        if pixels is None:
            values, opacity = values.unflatten(3, size), opacity.unflatten(2, size)
        return Rendering(values, opacity, opacity)

    def losses(self) -> dict[str, Tensor]:
        given = self.field.head(torch.rand(8, 7, device=self.merged.device))
        return {"eikonal": (given - 1).square().mean() * self.field.v.exp()}


class TinyField(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports, self.head, self.v = FieldPorts(4, "latents", 3), nn.Linear(7, 4), nn.Parameter(torch.tensor(0.3))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> TinyScene:
        return TinyScene(self, features.mean((1, 3, 4)) + t[:, None] / 1000)


class TinyLifter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports, self.layer = LifterPorts("latents", 3, MAPS), nn.Conv2d(6, 14, 1)

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


def build_backbone(spec: TinyBackboneSpec, *_: object) -> nn.Module:
    return TinyBackbone(spec.trainable)


def build_view_encoder(*_: object) -> nn.Module:
    return TinyEncoder()


def build_field(*_: object) -> nn.Module:
    return TinyField()


def build_lifter(*_: object) -> nn.Module:
    return TinyLifter()


def build_injector(*_: object) -> nn.Module:
    return TinyInjector()


SLOTS = ("backbone", "view_encoder", "field", "lifter", "injector")
for _slot in SLOTS:
    _options = TinyBackboneSpec if _slot == "backbone" else ComponentSpec
    _build = f"{__name__}:build_{_slot}"
    globals()[_slot.upper()] = ComponentPlugin(_slot, "tiny-train", "1.0", _options, _build, "tiny")


def offer(folder: Path) -> None:
    """Write a distribution's metadata that offers these components to whoever has ``folder`` on ``sys.path``."""
    info = folder / "tiny_train-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-train\nVersion: 1.0\n")
    groups = [f"[tunemv3d.{slot}]\ntiny-train = train_stand_ins:{slot.upper()}\n" for slot in SLOTS]
    (info / "entry_points.txt").write_text("\n".join(groups))


def write_dataset(folder: Path, views: int = 10, splits: tuple[str, ...] = ("train",) * 3 + ("held_out",) * 2) -> Path:
    """Coloured discs of different sizes."""
    names = {f"disc{i}": split for i, split in enumerate(splits)}
    cameras = Cameras.orbit(views)
    for i, name in enumerate(names):
        here = folder / "objects" / name
        here.mkdir(parents=True)
        files = tuple(f"{k:03d}.webp" for k in range(views))
        for k, file in enumerate(files):
            Image.fromarray(disc(i, k)).save(here / file, lossless=True)
        captions = (f"disc number {i}", f"a disc, {i}")
        write_object(here, PosedImages(name, cameras, (SIZE, SIZE), captions, files, "CC0-1.0", "nobody", "here"))
    write_manifest(folder, "discs", names)
    return folder


def pack(folder: Path, out: Path, objects: int = 2, latents: Any = None, key: str = "tiny") -> Path:
    """Shards of a dataset, written with tarfile alone. ``latents``: from an object's folder to tensors."""
    out.mkdir(parents=True)
    splits, shards, packed = read_manifest(folder), [], []
    for split in ("train", "held_out"):
        ids = [id_ for id_ in splits if splits[id_] == split]
        for first in range(0, len(ids), objects):
            path = out / f"discs-{len(shards):06d}.tar"
            with tarfile.open(path, "w") as tar:
                ends = [_add(tar, folder / "objects" / id_, latents) for id_ in ids[first : first + objects]]
            data = path.read_bytes()
            for id_, (a, b, c) in zip(ids[first:], ends, strict=False):
                crc32 = (zlib.crc32(data[a:b]), zlib.crc32(data[b:c]), 0)
                place = (len(shards), a, (b - a, c - b, 0), crc32)
                packed.append(PackedObject(id_, 10, "CC0-1.0", "nobody", split, *place))
            shards.append(Shard(path.name, len(data), hashlib.sha256(data).hexdigest()))
    packed.sort(key=lambda each: list(splits).index(each.id))
    kept = PackedLatents(key, (3, SIZE // 2, SIZE // 2)) if latents else None
    write_index(out / "shards.json", ShardIndex("discs", (SIZE, SIZE), kept, shards, packed))
    return out


def _add(tar: tarfile.TarFile, folder: Path, latents: Any) -> tuple[int, int, int]:
    start = tar.offset
    tar.add(folder / "transforms.json", f"{folder.name}.transforms.json")
    if latents:
        content = save(latents(folder))
        member = tarfile.TarInfo(f"{folder.name}.latents.safetensors")
        member.size = len(content)
        tar.addfile(member, BytesIO(content))
    middle = tar.offset
    for picture in sorted(folder.glob("*.webp")):
        tar.add(picture, f"{folder.name}.{picture.name}")
    return start, middle, tar.offset


def plan_of(objects: list[int], views: list[list[int]]) -> BatchPlan:
    """A plan of these views alone."""
    t = torch.zeros(len(objects), len(views[0]))
    return BatchPlan(objects, views, [""] * len(objects), t, t > 0, None, seed=0)


def disc(number: int, view: int) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    alpha = np.hypot(x, y) < 4 + number / 2
    rgba = np.zeros((SIZE, SIZE, 4), dtype=np.uint8)
    rgba[alpha] = (40 * number % 256, 20 * view, 200, 255)
    return rgba


def write_spec(path: Path, dataset: Path, *, field: bool = True, **train: Any) -> Path:
    slots = SLOTS if field else SLOTS[:1]
    model: dict[str, Any] = {slot: {"type": "tiny-train"} for slot in slots}
    if not field:
        model["backbone"]["trainable"] = True
    content = {
        "name": "tiny",
        "seed": 3,
        "model": model,
        "data": {"type": "multiview", "path": str(dataset)},
        "views": {"inputs": 4, "novel": 3, "novel_pixels": 0.25, "clean_probability": 0.3},
        "loss": {"mask": 0.1, "weighting": "v", **({"scene": {"eikonal": 0.1}} if field else {})},
        "optimizer": {
            **{"lr": 0.01, "warmup": 2, "schedule": {"type": "cosine"}},
            "parts": {"field": {"lr_scale": 2.0}},
        },
        "train": {"steps": 6, "batch": 2, "ema": 0.9, "checkpoint_every": 2, "log_every": 1, **train},
        "sample": {"steps": 2},
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def environment(offered: Path) -> dict[str, str]:
    """Variables of a process that finds the tiny components, and no GPU."""
    path = os.pathsep.join([str(offered), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
