"""Figures and picture grids: what the autoencoder keeps, and what the prior makes of a prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw
from torch import Tensor

from sd_mini.data import Views, composite
from sd_mini.vae import decode, encode_all, ground_cells, moments, white_latent
from tunemv3d_data.colours import COLOURS, colour_name, oklab

WANTED = (
    *(("red", "armchair"), ("blue", "office chair"), ("green", "bar stool"), ("yellow", "chair")),
    *(("pink", "armchair"), ("purple", "office chair"), ("light blue", "chair"), ("black", "bar stool")),
    *(("orange", "chair"), ("brown", "table"), ("grey", "armchair"), ("beige", "sofa")),
    *(("red", "bar stool"), ("green", "office chair"), ("blue", "armchair"), ("turquoise", "chair")),
)
"""Main colour and type of every prompt."""
PROMPTS = tuple(f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {kind}" for colour, kind in WANTED)
STEPS, GUIDANCE, SEEDS = 25, 5.0, 4
KEPT_COLOURS = ("pink", "green", "purple", "light blue", "red", "orange", "yellow", "blue", "brown")


@torch.no_grad()
def evaluate_vae(pipeline: StableDiffusionPipeline, held: Views, folder: Path, most: int = 512) -> dict[str, Any]:
    """Reconstruct held-out pictures, as they are and repainted in named colours.

    Returns:
        ``psnr`` (of whole pictures) and ``psnr_foreground`` (where alpha is over a half), both means over pictures in
        dB; ``colours``: for every colour the OKLab distance of the mean foreground colour before and after;
        ``white_latent``: the largest value inside and in all; ``ground``: the root mean square of the latents of white
        ground around the objects.
    """
    vae = pipeline.vae
    white = white_latent(vae, held.images.shape[-1]).abs()
    inner = white.shape[-1] // 4
    figures: dict[str, Any] = {
        "white_latent": {"inside": white[:, inner:-inner, inner:-inner].max().item(), "all": white.max().item()}
    }
    if not len(held.images):
        return figures
    step = max(1, len(held.images) // most)
    images = held.images[::step][:most]
    real = composite(images)
    latents = encode_all(vae, images)
    made = torch.cat([decode(vae, part) for part in latents.split(64)]).clamp(-1, 1) / 2 + 0.5
    ground = ground_cells(images[:, 3:].float() / 255)[:, 0]
    figures["ground"] = latents.square().mean(1)[ground].mean().sqrt().item()
    solid = images[:, 3:] > 127
    error = (made - real).square()
    whole = -10 * error.mean((1, 2, 3)).log10()
    front = -10 * ((error * solid).sum((1, 2, 3)) / (3 * solid.sum((1, 2, 3))).clamp(min=1)).log10()
    front = front[solid.sum((1, 2, 3)) > 0]
    figures |= {"pictures": len(images), "psnr": whole.mean().item(), "psnr_foreground": front.mean().item()}
    sample = images[:: max(1, len(images) // 24)][:24]
    figures["colours"], rows = {}, [composite(sample), made[:: max(1, len(images) // 24)][:24]]
    for name in KEPT_COLOURS:
        before = _repainted(sample, name)
        after = decode(vae, moments(vae, before * 2 - 1)[0]).clamp(-1, 1) / 2 + 0.5
        mask = sample[:, 3:] > 127
        means = np.array([((x * mask).sum((0, 2, 3)) / mask.sum() * 255).tolist() for x in (before, after)])
        figures["colours"][name] = float(np.linalg.norm(np.subtract(*oklab(means))))
        rows += [before, after]
    _strip(rows, folder / "autoencoder.png")
    return figures


@torch.no_grad()
def evaluate_prior(pipeline: StableDiffusionPipeline, folder: Path, steps: int = STEPS) -> dict[str, Any]:
    """Sample every prompt with every seed.

    Returns:
        ``named_colour``: share of pictures whose mean foreground colour is the prompt's; ``white_ground``: mean value
        of the outermost pixels, and the share of pictures where it is over 0.97; ``per_prompt``: words found.
    """
    prompts = [prompt for prompt in PROMPTS for _ in range(SEEDS)]
    device = pipeline.unet.device
    generators = [torch.Generator(device).manual_seed(seed) for _ in PROMPTS for seed in range(SEEDS)]
    pictures = pipeline(
        prompts, num_inference_steps=steps, guidance_scale=GUIDANCE, generator=generators, output_type="pt"
    ).images.float()
    words = [_foreground_word(picture) for picture in pictures]
    hits = [word == WANTED[k // SEEDS][0] for k, word in enumerate(words)]
    edge = torch.ones_like(pictures[0, 0], dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    ground = pictures[:, :, edge].mean((1, 2))
    _prompt_grid(pictures, folder / "prompts.png")
    return {
        "steps": steps,
        "guidance": GUIDANCE,
        "seeds": SEEDS,
        "named_colour": sum(hits) / len(hits),
        "white_ground": {"mean": ground.mean().item(), "share": (ground > 0.97).float().mean().item()},
        "per_prompt": {p: words[k * SEEDS : (k + 1) * SEEDS] for k, p in enumerate(PROMPTS)},
    }


def _foreground_word(picture: Tensor) -> str | None:
    """The name of the mean colour of the pixels that differ from white; ``3 H W`` in [0, 1]."""
    foreground = (1 - picture).amax(0) > 0.08
    if not foreground.any():
        return None
    return colour_name((picture[:, foreground].mean(1) * 255).tolist())


def _repainted(images: Tensor, name: str) -> Tensor:
    """RGBA uint8 views in one named colour over white, their light and shade kept: ``n 3 H W`` in [0, 1]."""
    alpha = images[:, 3:].float() / 255
    light = (images[:, :3].float() / 255).mean(1, keepdim=True)
    usual = (light * alpha).sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True).clamp(min=1)
    shade = torch.tensor(COLOURS[name], device=images.device)[:, None, None] / 255
    painted = (shade * (0.5 + 0.5 * light / usual.clamp(min=0.05))).clamp(0, 1)
    return painted * alpha + 1 - alpha


def _strip(rows: Sequence[Tensor], path: Path) -> None:
    """Arrange one picture per column, one tensor ``n 3 H W`` per row."""
    _save(torch.cat([torch.cat(list(row), -1) for row in rows], -2), path)


def _prompt_grid(pictures: Tensor, path: Path, columns: int = 4, label: int = 16) -> None:
    """A labelled tile of two by two pictures for every prompt."""
    side = pictures.shape[-1]
    rows = -(-len(PROMPTS) // columns)
    sheet = Image.new("RGB", (columns * 2 * side, rows * (2 * side + label)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, prompt in enumerate(PROMPTS):
        left, top = (k % columns) * 2 * side, (k // columns) * (2 * side + label)
        draw.text((left + 4, top + 2), prompt, fill="black")
        for j in range(SEEDS):
            place = (left + (j % 2) * side, top + label + (j // 2) * side)
            sheet.paste(_to_pil(pictures[k * SEEDS + j]), place)
    sheet.save(path)


def _save(picture: Tensor, path: Path) -> None:
    _to_pil(picture).save(path)


def _to_pil(picture: Tensor) -> Image.Image:
    """``3 H W`` in [0, 1]."""
    return Image.fromarray((picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
