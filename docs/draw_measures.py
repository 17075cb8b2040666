"""Draws the pictures of ``how-to-read-the-figures.md``: ``python docs/draw_measures.py``, a minute on one core.

They show a packaged chair that ``chairs-mini`` was not trained on, and the packaged pool of texts; each figure that the
page names is written to ``_static/measures/figures.json``. Nothing is chosen: one chair, its eight even views.
"""

import base64
import io
import json
from html import escape
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.io.checkpoint import find_checkpoint, load_checkpoint
from tunemv3d_core.io.posed_images import read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.sampling import fuse_clean, initial_noise
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_eval.clip.retrieval import load_clip
from tunemv3d_eval.metrics.hull_recall import hull_recall
from tunemv3d_eval.metrics.leave_one_out import psnr
from tunemv3d_eval.metrics.opacity_iou import opacity_iou
from tunemv3d_eval.metrics.silhouettes import in_cells
from tunemv3d_eval.protocols.pools import load_pool
from tunemv3d_eval.scoring.measure import finished_objects
from tunemv3d_eval.statistics.shares import share_interval

FOLDER = Path(__file__).parent / "_static" / "measures"
CHAIR = "blend-swap-cc-0-plasticchair"
"""A held-out one, CC0, by exL."""

CAPTION = "a blue chair"

OTHERS = ("deckchair", "designchair", "relaxchair", "stool", "thonet", "silla2", "oakchair")
"""Chairs of the same library, whose views are shuffled in."""

VIEWS = (0, 3, 6, 9, 12, 15, 18, 21)
BOTH, ONE, OTHER, GROUND = (13, 101, 96), (216, 110, 30), (70, 120, 200), (255, 255, 255)
"""Colours: agreed, of the picture alone, of the field alone, of neither."""


def main() -> None:
    """Draw everything."""
    torch.set_grad_enabled(False)
    FOLDER.mkdir(exist_ok=True)
    told = draw_hull_recall() | draw_with_the_model() | draw_r_precision()
    draw_sets()
    draw_intervals()
    (FOLDER / "figures.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def read_views(name: str) -> tuple[Tensor, Cameras]:
    """Eight even views of a packaged chair on white, ``n 3 H W`` in [-1, 1], and their cameras ``n``."""
    folder = find_asset("chairs") / "objects" / name
    record = read_object(folder)
    shown = []
    for index in VIEWS:
        with Image.open(folder / record.files[index]) as picture:
            rgba = torch.from_numpy(np.asarray(picture.convert("RGBA")) / 255).movedim(-1, 0)
        shown.append(rgba[:3] * rgba[3:] + 1 - rgba[3:])
    return torch.stack(shown).float() * 2 - 1, record.cameras[torch.tensor(VIEWS)]


def masks(images: Tensor) -> Tensor:
    """What is not white, ``n H W``."""
    return (images < 0.9).any(1)


def draw_hull_recall() -> dict[str, float]:
    """Show which pixels of one view lie in the hull of the others: real views, one repeated, other chairs'."""
    images, cameras = read_views(CHAIR)
    own = masks(images)
    cases = {"real": own, "repeated": own[:1].expand_as(own)}
    others = [masks(read_views(f"blend-swap-cc-0-{name}")[0]) for name in OTHERS]
    cases["shuffled"] = torch.stack([own[0], *(other[i + 1] for i, other in enumerate(others))])
    drawn = []
    for silhouettes in cases.values():
        inside = _in_hull(silhouettes, cameras)
        drawn.append(_painted(silhouettes[0], inside))
    _save(drawn, "hull-recall", 160)
    return {f"hull recall, {name}": round(float(hull_recall(s[None], cameras[None])), 2) for name, s in cases.items()}


def _in_hull(silhouettes: Tensor, cameras: Cameras, samples: int = 192) -> Tensor:
    """Pixels ``H W`` of the first view whose ray has a point that all other silhouettes ``n H W`` show."""
    h, w = silhouettes.shape[1:]
    rays = cameras[:1].rays((h, w))
    near, far, hit = intersect_sphere(rays)
    steps = (torch.arange(samples) + 0.5) / samples
    depths = (near + (far - near) * steps[:, None]).T
    points = rays.origins[0, :, None] + depths[..., None] * rays.directions[0, :, None]
    seen = hit[0, :, None].expand(-1, samples).clone()
    for other in range(1, len(silhouettes)):
        places, depth = cameras[other : other + 1].project(points.reshape(1, -1, 3))
        grown = torch.nn.functional.max_pool2d(silhouettes[other][None, None].float(), 3, 1, 1)
        found = torch.nn.functional.grid_sample(
            grown, places.reshape(1, 1, -1, 2) * 2 - 1, mode="nearest", align_corners=False
        )
        seen &= (found.reshape(-1, samples) > 0.5) & (depth.reshape(-1, samples) > 0)
    return seen.any(1).reshape(h, w)


def draw_with_the_model() -> dict[str, float]:
    """Leave-one-out, opacity and L_neus: ``chairs-mini`` looks at the real views."""
    _, model = load_checkpoint(find_checkpoint("chairs-mini"))
    images, cameras = read_views(CHAIR)
    latents = model.backbone.encode_images(images[None])
    text = model.backbone.encode_text([CAPTION])
    real = finished_objects(model, latents, text, cameras[None], [CAPTION])[0]
    return _leave_one_out(model, latents, cameras) | _overlap(real) | _denoised(model, latents, cameras)


def _leave_one_out(model: MultiviewDiffusion, latents: Tensor, cameras: Cameras) -> dict[str, float]:
    size = (latents.shape[-2], latents.shape[-1])
    text = model.backbone.encode_text([CAPTION])
    told, drawn = {}, []
    repeated = latents[:, :1].expand_as(latents).clone()
    repeated[:, 3] = latents[:, 3]
    others = torch.tensor([0, 1, 2, 4, 5, 6, 7])
    for name, views in (("real", latents), ("repeated", repeated)):
        scene = fuse_clean(model, views[:, others], text, cameras[None][:, others])
        rendered = model.blend(scene.render(cameras[None][:, 3:4], size), size)
        shown = model.backbone.decode_latents(torch.cat([views[:, 3:4], rendered], 1))[0].float()
        told[f"leave-one-out PSNR, {name}"] = round(float(psnr(shown[1], shown[0])), 1)
        drawn += [_picture(shown[0]), _picture(shown[1])] if not drawn else [_picture(shown[1])]
    _save(drawn, "leave-one-out", 160)
    return told


def _overlap(real: MeasuredObject) -> dict[str, float]:
    """The field's opacity on the silhouette, in latent cells."""
    assert real.opacity is not None
    cells, opaque = in_cells(real.silhouettes[None], real.opacity[None])[0], real.opacity > 0.5
    drawn = []
    for view in (0, 3):
        paint = np.full((*cells[view].shape, 3), GROUND, np.uint8)
        for colour, where in ((BOTH, cells & opaque), (ONE, cells & ~opaque), (OTHER, opaque & ~cells)):
            paint[where[view].numpy()] = colour
        drawn += [_picture(real.images[view]), Image.fromarray(paint)]
    _save(drawn, "opacity-iou", 128, Image.Resampling.NEAREST)
    return {"opacity IoU, real": round(float(opacity_iou(real.opacity[None], real.silhouettes[None])), 2)}


def _denoised(model: MultiviewDiffusion, latents: Tensor, cameras: Cameras) -> dict[str, float]:
    """What the field makes of views with noise of three levels."""
    text, size = model.backbone.encode_text([CAPTION]), (latents.shape[-2], latents.shape[-1])
    noise = initial_noise([0], latents.shape[1], latents.shape[2], size)
    told, drawn = {}, [_picture(model.backbone.decode_latents(latents[:, :1])[0, 0].float())]
    for t in (50.0, 500.0, 950.0):
        level = torch.full(latents.shape[:2], t)
        noisy = model.backbone.add_noise(latents, noise, level)
        x0 = model.blend(model.fuse(noisy, level, text, cameras[None]).render(cameras[None], size), size)
        told[f"L_neus, t = {t:.0f}"] = round(float((x0 - latents).abs().mean()), 2)
        drawn += [_picture(z[0, 0].float()) for z in map(model.backbone.decode_latents, (noisy[:, :1], x0[:, :1]))]
    _save(drawn, "l-neus", 96)
    return told


def draw_r_precision() -> dict[str, float | str]:
    """The five texts of the pool that are most like one view, and the true one."""
    pool = [*load_pool("chairs-100"), CAPTION]
    judge = load_clip("clip-mini", "cpu")
    images, _ = read_views(CHAIR)
    alike = (judge.images(images[:1]) @ judge.texts(pool).T)[0]
    best = alike.topk(5).indices.tolist()
    place = int((alike > alike[-1]).sum()) + 1
    buffer = io.BytesIO()
    _picture(images[0]).save(buffer, "WEBP", quality=70)
    data = base64.b64encode(buffer.getvalue()).decode()
    parts = [f'<image href="data:image/webp;base64,{data}" x="8" y="8" width="134" height="134"/>']
    span = float(alike[best[0]] - alike.min())
    for row, index in enumerate(best):
        long, y = 400 * float(alike[index] - alike.min()) / span, 12 + 26 * row
        colour = "#9fd5cf" if index == len(pool) - 1 else "#dddcd6"
        parts.append(f'<rect x="156" y="{y}" width="{long:.0f}" height="20" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="162" y="{y + 15}">{escape(pool[index])}</text>')
    _svg("r-precision", 640, 150, parts)
    return {"R-precision, place of the true text": place, "R-precision, texts": len(pool)}


def draw_sets() -> None:
    """Two sets of samples beside real ones, as points of a plane: near and far."""
    random = np.random.default_rng(0)
    parts = []
    for panel, (shift, spread) in enumerate(((0.1, 1.0), (1.8, 0.4))):
        x0 = 160 + 320 * panel
        for colour, moved, wide in (("#6a6f77", 0.0, 1.0), ("#d86e1e", shift, spread)):
            points = random.normal(0, 26, (40, 2)) * wide + (moved * 40, 0)
            dots = "".join(f"M{x0 + x:.0f} {75 + y:.0f}h0" for x, y in points)
            parts.append(f'<path d="{dots}" stroke="{colour}" stroke-width="8" stroke-linecap="round" opacity=".75"/>')
    _svg("sets", 640, 150, parts)


def draw_intervals() -> None:
    """The 95 % intervals of one share over 36 and over 306 objects, and the controls of hull recall."""
    parts = []
    for row, count in enumerate((36, 306)):
        found = round(0.72 * count)
        low, high = share_interval(np.repeat([1.0, 0.0], [found, count - found]), np.ones(count))
        y = 45 + 50 * row
        parts.append(f'<text x="12" y="{y + 5}">{found} of {count} objects</text>')
        parts.append(f'<path d="M{170 + 440 * low:.0f} {y}H{170 + 440 * high:.0f}" stroke="#0d6560" stroke-width="8"/>')
        parts.append(f'<circle cx="{170 + 440 * found / count:.0f}" cy="{y}" r="8" fill="#d86e1e"/>')
    parts.append(
        '<path d="M170 122H610" stroke="#6a6f77"/><text x="160" y="140">0 %</text><text x="590" y="140">100 %</text>'
    )
    _svg("intervals", 640, 150, parts)


def _painted(silhouette: Tensor, inside: Tensor) -> Image.Image:
    paint = np.full((*silhouette.shape, 3), GROUND, np.uint8)
    paint[(silhouette & inside).numpy()] = BOTH
    paint[(silhouette & ~inside).numpy()] = ONE
    return Image.fromarray(paint)


def _picture(image: Tensor) -> Image.Image:
    """``3 H W`` in [-1, 1]."""
    return Image.fromarray(((image.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(0, -1).numpy())


def _save(
    tiles: list[Image.Image], name: str, side: int, resampling: Image.Resampling = Image.Resampling.LANCZOS
) -> None:
    """Tiles in a row."""
    sheet = Image.new("RGB", (side * len(tiles), side), GROUND)
    for place, tile in enumerate(tiles):
        sheet.paste(tile.resize((side, side), resampling), (side * place, 0))
    sheet.save(FOLDER / f"{name}.webp", quality=70, method=6)


def _svg(name: str, width: int, height: int, parts: list[str]) -> None:
    """Drawing on white, legible on any ground."""
    size = f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    ground = f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>'
    (FOLDER / f"{name}.svg").write_text("\n".join([head, ground, *parts, "</svg>"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
