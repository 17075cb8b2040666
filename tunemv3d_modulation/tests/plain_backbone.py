"""A third party's backbone with what the slot asks for and nothing else, and the distribution that offers it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import ModelSpec, RunSpec, SampleSpec, TrainSpec, ViewsSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.ports import BackbonePorts, MapPort
from tunemv3d_core.types import Skips, Text


class PlainBackbone(nn.Module):
    """Flow matching: x_t = (1 - sigma) x0 + sigma noise with sigma = t / 1000; predicts noise - x0."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = BackbonePorts(4, 8, 2, 5, (MapPort(6, 1), MapPort(8, 2)), "flow", 1000)
        torch.manual_seed(0)
        self.words, self.picture = nn.Linear(1, 5), nn.Conv2d(4, 3, 1)
        self.first, self.down = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.up, self.last = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.requires_grad_(False)

    def encode_text(self, prompts: list[str]) -> Text:
        codes = torch.tensor([[ord(letter) / 100 for letter in f"{prompt[:8]:8}"] for prompt in prompts])
        return Text(self.words(codes[..., None].to(self.words.weight)))

    def encode_images(self, images: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(images.flatten(0, 1), 2)
        return torch.cat([small, small[:, :1]], dim=1).unflatten(0, images.shape[:2])

    def decode_latents(self, latents: Tensor) -> Tensor:
        images = nn.functional.interpolate(self.picture(latents.flatten(0, 1)), scale_factor=2.0)
        return images.unflatten(0, latents.shape[:2])

    def add_noise(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        sigma = t[..., None, None, None] / 1000
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - latents

    def predict_x0(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return x_t - t[..., None, None, None] / 1000 * prediction

    def alphas_cumprod(self, t: Tensor) -> Tensor:
        return (1 - t / 1000).square()

    def encode(self, x_t: Tensor, t: Tensor, text: Text) -> Skips:
        told = t.flatten() / 1000 + text.per_view(x_t.shape[1]).tokens.mean((1, 2))
        first = torch.tanh(self.first(x_t.flatten(0, 1)) + told[:, None, None, None])
        return Skips((first, self.down(first)))

    def decode(self, skips: Skips, residuals: tuple[Tensor, ...] | None, t: Tensor, text: Text) -> Tensor:
        first, down = skips.maps if residuals is None else [s + r for s, r in zip(skips.maps, residuals, strict=True)]
        up = nn.functional.interpolate(self.up(down), size=first.shape[-2:])
        return self.last(first + up).unflatten(0, t.shape)

    def scheduler(self, name: str = "") -> Any:
        return FlowMatchEulerDiscreteScheduler()

    def fingerprint(self) -> dict[str, str]:
        return {}

    def latent_key(self) -> str:
        return "plain"

    def copy_encoder(self, share: bool = False) -> nn.Module:
        raise NotImplementedError


class OffloadableBackbone(PlainBackbone):
    """The same with the optional abilities."""

    def offloadable(self) -> tuple[nn.Module, nn.Module]:
        return self.words, self.picture

    def cut_prompts(self, prompts: list[str]) -> list[str]:
        return [f"only 8 letters are read: {prompt[8:]!r} is cut" for prompt in prompts if len(prompt) > 8]


class OwnScheduler:
    """Euler's steps with nothing that is not needed: no scale, no config, no way to save it."""

    def set_timesteps(self, steps: int, device: Any = None) -> None:
        self.timesteps = torch.linspace(1000, 1000 / steps, steps, device=device)

    def step(self, prediction: Tensor, t: Tensor, latents: Tensor) -> SimpleNamespace:
        return SimpleNamespace(prev_sample=latents - prediction / len(self.timesteps))


class OwnSchedulerBackbone(PlainBackbone):
    def scheduler(self, name: str = "") -> Any:
        return OwnScheduler()


def build(spec: ComponentSpec, *_: object) -> nn.Module:
    return {"plain": PlainBackbone, "own-scheduler": OwnSchedulerBackbone}[spec.type]()


PLAIN, OWN = (
    ComponentPlugin("backbone", name, "1.0", ComponentSpec, "plain_backbone:build", "A stand-in")
    for name in ("plain", "own-scheduler")
)


def offer(folder: Path) -> None:
    """Write the metadata of a distribution that offers them to whoever has ``folder`` on ``sys.path``."""
    info = folder / "plain_backbone-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plain-backbone\nVersion: 1.0\n")
    lines = "plain = plain_backbone:PLAIN\nown-scheduler = plain_backbone:OWN\n"
    (info / "entry_points.txt").write_text(f"[tunemv3d.backbone]\n{lines}")


def plain_spec(backbone: str = "plain") -> RunSpec:
    return RunSpec(
        name="plain",
        model=ModelSpec(backbone=ComponentSpec(type=backbone)),
        data=ComponentSpec(type="none"),
        views=ViewsSpec(inputs=2),
        train=TrainSpec(steps=1),
        sample=SampleSpec(steps=3, guidance=2.0),
    )
