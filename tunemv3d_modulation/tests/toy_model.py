"""A modulated model whose view encoder and field are a few lines, around the real backbone, lifter and injector."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import ModelSpec, RunSpec, SampleSpec, TrainSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.ports import BuildContext, FieldPorts, Gives, Neighbours, ViewEncoderPorts
from tunemv3d_core.types import Rendering, Text
from tunemv3d_modulation import backbone, injector
from tunemv3d_modulation.spec import CopiedEncoderSpec, DiffusersSpec, ZeroConvSpec

SPEC = RunSpec(
    name="toy",
    model=ModelSpec(backbone=DiffusersSpec(type="diffusers", pretrained="toy")),
    data=ComponentSpec(type="none"),
    train=TrainSpec(steps=1),
    sample=SampleSpec(steps=3, guidance=2.0, scheduler="dpm++"),
)
CONTEXT = BuildContext(torch.device("cpu"))


class MeanEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.ports, self.layer = ViewEncoderPorts(4), nn.Conv2d(4, 4, 1)

    def forward(self, x_t: Tensor, t: Tensor, text: Text, cameras: Cameras) -> Tensor:
        features = self.layer(x_t.flatten(0, 1))
        return features.reshape(*x_t.shape[:2], *features.shape[1:])


@dataclass
class MeanScene:
    """Every camera sees the mean of all views' features, on the image's left half."""

    mean: Tensor

    def render(
        self, cameras: Cameras, size: tuple[int, int], pixels: Tensor | None = None, normals: bool = False
    ) -> Rendering:
        mean = torch.nn.functional.interpolate(self.mean, size)
        values = mean[:, None].expand(-1, cameras.shape[1], -1, -1, -1)
        opacity = mean.new_zeros(*cameras.shape, *size, dtype=torch.float32)
        opacity[..., : size[1] // 2] = 1
        depth = opacity * torch.linspace(2, 3, size[0], device=mean.device)[:, None]
        seen = values * opacity[:, :, None].to(values)
        facing = torch.zeros(*cameras.shape, 3, *size, device=mean.device)
        return at_pixels(Rendering(seen, opacity.to(values), depth, facing), pixels)

    def losses(self) -> dict[str, Tensor]:
        return {}


def at_pixels(seen: Rendering, pixels: Tensor | None) -> Rendering:
    """Whole maps at the pixels that are asked for."""
    if pixels is None:
        return seen
    h, w = seen.opacity.shape[-2:]
    places = (pixels[..., 1] * h).long() * w + (pixels[..., 0] * w).long()

    def pick(z: Tensor) -> Tensor:
        flat = z.flatten(-2)
        return flat.gather(-1, places if flat.ndim == 3 else places[:, :, None].expand(*flat.shape[:-1], -1))

    return Rendering(*(pick(z) for z in (seen.values, seen.opacity, seen.depth, seen.normals)))


class MeanField(nn.Module):
    def __init__(self, gives: Gives = "latents") -> None:
        super().__init__()
        self.ports, self.scale = FieldPorts(4, gives, 4), nn.Parameter(torch.ones(4, 1, 1))

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> MeanScene:
        return MeanScene((features.mean(1) * self.scale).to(features))


def load(folder: Path | str, context: BuildContext = CONTEXT, **options: Any) -> backbone.DiffusersBackbone:
    spec = DiffusersSpec.model_validate({"type": "diffusers", "pretrained": str(folder), **options})
    return backbone.build(spec, None, context)


def unet_forward(base: backbone.DiffusersBackbone, x_t: Tensor, t: Tensor, text: Text, **more: Any) -> Tensor:
    """The diffusers UNet's own forward on all views; XL is told pictures of four pixels a latent cell, uncropped."""
    n, (h, w) = x_t.shape[1], x_t.shape[-2:]
    sizes = torch.tensor([[4.0 * h, 4 * w, 0, 0, 4 * h, 4 * w]]).expand(x_t.shape[0] * n, -1)
    views = text.map(lambda x: x.repeat_interleave(n, 0))
    added = {"text_embeds": views.pooled, "time_ids": sizes}
    flat = base.unet(x_t.flatten(0, 1), t.flatten(), views.tokens, added_cond_kwargs=added, **more).sample
    return flat.reshape(x_t.shape)


def toy_model(folder: Path, raw_noise: bool = True, **options: Any) -> MultiviewDiffusion:
    """With the lifter ``copied-encoder``."""
    return model_around(load(folder, **options), CopiedEncoderSpec(type="copied-encoder", raw_noise=raw_noise))


def model_around(
    base: backbone.DiffusersBackbone, lifter: ComponentSpec, gives: Gives = "latents"
) -> MultiviewDiffusion:
    """Built as ``assemble`` builds, with the two components above in the slots of other packages."""
    torch.manual_seed(1)
    field = MeanField(gives)
    context = BuildContext(CONTEXT.device, backbone=base)
    neighbours = Neighbours(base.ports, field=field.ports)
    lift = build_component("lifter", lifter, neighbours, context)
    neighbours = Neighbours(base.ports, field=field.ports, lifter=lift.ports)
    inject = injector.build(ZeroConvSpec(type="zero-conv"), neighbours, context)
    return MultiviewDiffusion(base, MeanEncoder(), field, lift, inject)


def moved_model(folder: Path, **options: Any) -> MultiviewDiffusion:
    """One whose injector has moved, so that views influence each other."""
    model = toy_model(folder, **options)
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in model.injector.parameters():
            parameter.normal_(std=0.1)
    return model


def toy_inputs(model: MultiviewDiffusion | None = None, b: int = 2, n: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    inputs: dict[str, Any] = {
        "x_t": torch.randn(b, n, 4, 8, 8, generator=generator),
        "t": torch.tensor([[700.0], [33.25]]).expand(b, n),
    }
    if model is not None:
        inputs["text"] = model.backbone.encode_text(["a red chair", ""])
        inputs["cameras"] = Cameras.orbit(n)[None].expand(b, n)
    return inputs


def digest(module: nn.Module) -> str:
    """Of every tensor's name and bytes."""
    state = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        state.update(name.encode() + tensor.numpy().tobytes())
    return state.hexdigest()
