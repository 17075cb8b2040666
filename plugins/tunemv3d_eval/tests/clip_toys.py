"""Tiny random CLIP and SigLIP folders, as transformers writes them, and a model whose shape is a ball."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from eval_toys import RED, ToyBackbone, ToyEncoder, ToyField, ToyInjector, ToyLifter
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer, SiglipConfig, SiglipModel

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.types import Rendering

SIDE = 16
_TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def byte_tokenizer(length: int = 24) -> CLIPTokenizer:
    """CLIP's tokenizer without merges: one token a character."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: k for k, token in enumerate(tokens)}, merges=[], model_max_length=length)


def write_processor(folder: Path, kind: str = "CLIP", side: int = SIDE, **more: Any) -> None:
    """Write ``preprocessor_config.json``: pictures to ``side`` pixels and [-1, 1]."""
    settings = {"do_convert_rgb": True, "do_resize": True, "size": {"height": side, "width": side}, "resample": 3}
    settings |= {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True}
    settings |= {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.5, 0.25, 0.5]}
    settings |= {"image_processor_type": f"{kind}ImageProcessor", "do_center_crop": False}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | more), encoding="utf-8")


def write_tiny_clip(folder: Path, seed: int = 0) -> Path:
    """Write a random CLIP."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    marks = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("bos", "eos", "pad")}
    config = CLIPConfig(
        text_config={**_TOWER, **marks, "vocab_size": len(tokenizer), "max_position_embeddings": 24},
        vision_config={**_TOWER, "image_size": SIDE, "patch_size": 8},
        projection_dim=12,
    )
    model = CLIPModel(config)
    for parameter in model.parameters():  # transformers' first weights hardly depend on the input
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_processor(folder)
    return folder


def write_tiny_siglip(folder: Path) -> Path:
    """Write a random SigLIP."""
    torch.manual_seed(1)
    tokenizer = byte_tokenizer(20)
    config = SiglipConfig(
        text_config={**_TOWER, "vocab_size": len(tokenizer), "max_position_embeddings": 20, "projection_size": 16},
        vision_config={**_TOWER, "image_size": SIDE, "patch_size": 8},
    )
    model = SiglipModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_processor(folder, "Siglip")
    return folder


@dataclass
class BallScene:
    """A red ball of radius 0.5 with its normals and signed distance, in closed form."""

    def render(self, cameras: Cameras, size: Any, pixels: Any = None, normals: bool = False) -> Rendering:
        rays = cameras.rays(size) if pixels is None else cameras.rays(size, pixels=pixels)
        near, _, hit = intersect_sphere(rays, 0.5)
        points = rays.origins + near[..., None] * rays.directions
        maps = [(torch.tensor(RED) * 2 - 1).expand(points.shape).movedim(-1, 2) * hit[:, :, None], hit.float()]
        maps += [near * hit, (points / 0.5).movedim(-1, 2) * hit[:, :, None]]
        if pixels is None:
            maps = [each.unflatten(-1, tuple(size)) for each in maps]
        return Rendering(maps[0], maps[1], maps[2], maps[3] if normals else None)

    def signed_distance(self, points: Tensor) -> Tensor:
        return points.norm(dim=-1) - 0.5


class BallField(ToyField):
    def __init__(self) -> None:
        super().__init__("ball")

    def fuse(self, features: Tensor, cameras: Cameras, t: Tensor) -> BallScene:
        return BallScene()


def ball_model(size: int = 32) -> MultiviewDiffusion:
    """A model whose field is the ball, whatever the views are."""
    return MultiviewDiffusion(ToyBackbone(size), ToyEncoder(), BallField(), ToyLifter(), ToyInjector())
