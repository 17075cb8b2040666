"""Pictures of findings: the views concerned, their outline, and where the other views expect the object."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.hull import GRID, project
from tunemv3d_data.doctor.silhouettes import Masks
from tunemv3d_data.doctor.views import ObjectViews

_TILE, _MOST, _MARGIN, _LINE = 224, 8, 8, 17
_MASK, _HULL = (0, 150, 255), (235, 60, 60)
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def draw(views: ObjectViews, finding: Finding, out: Path) -> Finding:
    """Write the finding's picture and return the finding with its file name."""
    shown = list(finding.views[:_MOST]) or list(range(min(4, len(views))))
    tiles = [_tile(views, index) for index in shown]
    return _write(tiles, [f"view {index}" for index in shown], finding, out, bool(len(views.hull)))


def draw_pair(objects: Sequence[ObjectViews], finding: Finding, out: Path) -> Finding:
    """Write a picture with the first views of two objects, and return the finding with its file name."""
    tiles = [_tile(views, index) for views in objects for index in range(min(4, len(views)))]
    names = [f"{views.record.id} {index}" for views in objects for index in range(min(4, len(views)))]
    return _write(tiles, names, finding, out, any(len(views.hull) for views in objects))


def _tile(views: ObjectViews, index: int) -> Image.Image:
    """Draw one view on chequered ground, its outline in blue and the hull of the other views in red."""
    picture = views.pictures[index].rgba
    h, w = picture.shape[:2]
    scale = _TILE / max(h, w)
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    tile = _ground(size)
    seen = Image.fromarray(picture, "RGBA").resize(size, Image.Resampling.NEAREST)
    tile.paste(seen, (0, 0), seen)
    pixels = np.array(tile)
    pixels[_edge(_resized(views.masks[index], size))] = _MASK
    if len(views.hull):
        pixels[_edge(_footprint(views, index, size))] = _HULL
    return Image.fromarray(pixels)


def _ground(size: tuple[int, int]) -> Image.Image:
    y, x = np.mgrid[: size[1], : size[0]] // 8
    return Image.fromarray(np.where(((x + y) % 2)[..., None], np.uint8(236), np.uint8(214)).repeat(3, -1))


def _resized(mask: Masks, size: tuple[int, int]) -> Masks:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def _footprint(views: ObjectViews, index: int, size: tuple[int, int]) -> Masks:
    """Return the pixels that the hull's cells cover in a view."""
    w, h = size
    hull, pose, lens = views.hull, views.poses[index], views.intrinsics[index]
    cell = float(np.ptp(hull, axis=0).max()) / GRID
    widest = 1.0
    place, depth = project(hull, pose, lens)
    mask = Image.new("1", size)
    pen = ImageDraw.Draw(mask)
    for (x, y), z in zip(place * (w, h), depth, strict=True):
        if z > 0:
            half = max(1.0, 0.8 * cell / z * lens[0] * w)
            pen.rectangle((x - half, y - half, x + half, y + half), fill=1)
            widest = max(widest, half)
    return np.asarray(mask.convert("L").filter(ImageFilter.MinFilter(2 * round(1.3 * widest) + 1))) > 0


def _edge(mask: Masks) -> Masks:
    """Return a mask's outermost two pixels."""
    inner = np.pad(mask, 2)
    h, w = mask.shape
    around = [inner[2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w] for dy in (-2, 0, 2) for dx in (-2, 0, 2)]
    return np.asarray(mask & ~np.logical_and.reduce(around))


def _write(tiles: list[Image.Image], names: list[str], finding: Finding, out: Path, has_hull: bool) -> Finding:
    columns = min(4, max(2, len(tiles)))
    rows = -(-len(tiles) // columns)
    hull = "red: where the other views expect the object" if has_hull else "no red: the views agree on no shape"
    width = columns * (_TILE + _MARGIN) // 7
    words = textwrap.wrap(f"{finding.check}: {finding.object}. {finding.text}", width)
    words += textwrap.wrap(f"blue: outline of the picture; {hull}", width)
    head = _MARGIN + _LINE * len(words)
    size = (columns * (_TILE + _MARGIN) + _MARGIN, head + rows * (_TILE + _LINE + _MARGIN) + _MARGIN)
    sheet = Image.new("RGB", size, _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for line, text in enumerate(words):
        pen.text((_MARGIN, _MARGIN + line * _LINE - 2), text, _INK, font)
    for place, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        x = _MARGIN + place % columns * (_TILE + _MARGIN)
        y = head + _MARGIN + place // columns * (_TILE + _LINE + _MARGIN)
        sheet.paste(tile, (x, y))
        pen.text((x, y + tile.height + 1), name[:32], _INK, font)
    out.mkdir(parents=True, exist_ok=True)
    file = re.sub(r"[^\w.-]+", "_", f"{finding.object or 'dataset'}-{finding.check}") + ".png"
    sheet.save(out / file, optimize=True)
    return replace(finding, picture=file)
