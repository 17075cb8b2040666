"""A still of a mesh, which stands in its place until the page's viewer has loaded, and where there is no WebGL."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_core.io.generated import save_picture
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_show.glb import MALFORMED, opened

SIDE = 192
"""Pixels of the poster."""

POINTS = 300_000
"""Points of the surface that are drawn, at twice the poster's size."""

AZIMUTH, POLAR, LENS, AWAY = 25.0, 72.0, 30.0, 1.05
"""The page's camera: degrees around and from the vertical, field of view, distance over what fits (report.js)."""

Floats = NDArray[np.float64]


def poster(glb: bytes) -> bytes:
    """Draw a mesh as the page's viewer first shows it, unlit, on nothing: WebP.

    The surface is sampled evenly and its points are painted from the farthest to the nearest. What the texture's XMP
    packet says of its origin, the picture says too.

    Raises:
        ValueError: no GLB, or not one as ``tunemv3d mesh`` makes it.
    """
    corners, uv, texture, xmp = _read(glb)
    points, at = _spread(corners, uv)
    x, y, depth = _seen(points, corners.reshape(-1, 3))
    order = np.argsort(-depth)
    h, w = texture.shape[:2]
    columns, rows = np.clip(at[order] * (w, h), 0, (w - 1, h - 1)).astype(int).T
    # Each point covers four pixels, so that none between them shows what is behind.
    x, y = (np.repeat(z[order], 4) for z in (x, y))
    x, y = x + np.tile([0, 1, 0, 1], POINTS), y + np.tile([0, 0, 1, 1], POINTS)
    inside = (x >= 0) & (x < 2 * SIDE) & (y >= 0) & (y < 2 * SIDE)
    canvas = np.zeros((2 * SIDE, 2 * SIDE, 4), np.uint8)
    canvas[y[inside], x[inside]] = np.repeat(texture[rows, columns], 4, axis=0)[inside]
    buffer = io.BytesIO()
    drawn = Image.fromarray(canvas).resize((SIDE, SIDE), Image.Resampling.BOX)
    save_picture(drawn, buffer, xmp, "WEBP", quality=60, method=6)
    return buffer.getvalue()


def _read(glb: bytes) -> tuple[Floats, Floats, NDArray[np.uint8], bytes]:
    """Corners ``f 3 3`` and texture coordinates ``f 3 2`` of triangles, the texture ``H W 4`` and its XMP packet."""
    tree, chunks = opened(glb)
    try:
        part = tree["meshes"][0]["primitives"][0]

        def numbers(accessor: int, kind: str) -> NDArray[Any]:
            told = tree["accessors"][accessor]
            return np.frombuffer(chunks[told["bufferView"]], kind).reshape(told["count"], -1)

        wide = tree["accessors"][part["indices"]]["componentType"] == 5125
        faces = numbers(part["indices"], "<u4" if wide else "<u2").reshape(-1, 3)
        positions = numbers(part["attributes"]["POSITION"], "<f4").astype(float)
        uv = numbers(part["attributes"]["TEXCOORD_0"], "<f4").astype(float)
        with open_picture(chunks[tree["images"][0]["bufferView"]]) as picture:
            packet = picture.info.get("xmp", b"")
            return positions[faces], uv[faces], np.asarray(picture.convert("RGBA")), packet
    except (*MALFORMED, OSError) as error:
        raise ValueError(f"no GLB as `tunemv3d mesh` makes it: {error!r}") from error


def _spread(corners: Floats, uv: Floats) -> tuple[Floats, Floats]:
    """Points ``p 3`` evenly over the triangles, and their texture coordinates ``p 2``."""
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=-1)
    if not areas.sum() > 0:
        raise ValueError("a mesh without a surface")
    number = np.arange(POINTS)
    chosen = np.searchsorted(np.cumsum(areas), (number + 0.5) / POINTS * areas.sum()).clip(max=len(areas) - 1)
    # A sequence of two dimensions that leaves no gaps (R2, of the plastic number), folded into the triangle.
    a, b = (number * 0.7548776662) % 1, (number * 0.5698402910) % 1
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    shares = np.stack([1 - a - b, a, b], -1)[:, :, None]
    return (shares * corners[chosen]).sum(1), (shares * uv[chosen]).sum(1)


def _seen(points: Floats, vertices: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Column, row and distance of points in the picture of the page's camera; glTF's y is up."""
    around, down = np.radians([AZIMUTH, POLAR])
    back = np.array([np.sin(down) * np.sin(around), np.cos(down), np.sin(down) * np.cos(around)])
    right = np.array([np.cos(around), 0, -np.sin(around)])
    middle = (vertices.max(0) + vertices.min(0)) / 2
    half = np.radians(LENS / 2)
    away = AWAY * np.linalg.norm(vertices - middle, axis=-1).max() / np.sin(half)
    moved = points - middle
    depth = away - moved @ back
    scale = SIDE / np.tan(half) / depth
    # A point's four pixels are those around it.
    x, y = SIDE + moved @ right * scale - 0.5, SIDE - moved @ np.cross(back, right) * scale - 0.5
    return np.floor(x).astype(int), np.floor(y).astype(int), depth
