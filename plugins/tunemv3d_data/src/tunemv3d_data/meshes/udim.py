"""Textures in tiles of one unit of u and v each, numbered as Mari does (UDIM): 1001 + column + 10 x row."""

import re
from typing import Any

import numpy as np
from PIL import Image

from tunemv3d_data.meshes.materials import Floats
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.textures import MAX_SIDE, Bytes
from tunemv3d_data.notes import note

_TOKEN = re.compile(r"<UDIM>|%\(UDIM\)d", re.IGNORECASE)
_FIRST = re.compile(r"(?<!\d)1001(?!\d)")
_MISSING = 178


def is_tiled(name: str, uv: Floats | None, neighbours: Neighbours) -> bool:
    """Return whether a texture's name means tiles: by ``<UDIM>``, or by 1001 where faces lie in a further tile."""
    if _TOKEN.search(name):
        return True
    if uv is None or not _FIRST.search(name):
        return False
    numbers = np.unique(_numbers(_tile(uv)))
    return any(number > 1001 and neighbours.has(_named(name, number)) for number in numbers)


def tiles(name: str, uv: Floats | None, neighbours: Neighbours) -> tuple[Bytes | None, Floats | None]:
    """Put the tiles that faces use into one texture.

    Args:
        name: with ``<UDIM>``, or the name of tile 1001.
        uv: ``f 3 2``, each face within one tile; None reads tile 1001 alone.
        neighbours: finds the tiles; those that are missing are noted and stay grey.

    Returns:
        the texture, None if there is no tile; and the texture coordinates in it.
    """
    if uv is None:
        return neighbours.texture(_named(name, 1001)), None
    tile = _tile(uv)
    used, which = np.unique(_numbers(tile), return_inverse=True)
    read = [neighbours.texture(_named(name, number)) for number in used]
    found = [texture for texture in read if texture is not None]
    if not found:
        return None, uv
    side = int(np.ceil(np.sqrt(len(used))))
    size = max(max(texture.shape[:2]) for texture in found)
    if size > MAX_SIDE // side:
        size = MAX_SIDE // side
        note("texture scaled down", f"{name}: its {len(used)} tiles are scaled down to {size} x {size} pixels each")
    whole = np.full((side * size, side * size, 4), _MISSING, dtype=np.uint8)
    whole[..., 3] = 255
    row, column = np.divmod(np.arange(len(used)), side)
    for place, texture in enumerate(read):
        if texture is not None:
            below = (side - 1 - row[place]) * size  # v runs upwards, the rows of a picture downwards
            beside = column[place] * size
            fitted = Image.fromarray(texture).resize((size, size))
            whole[below : below + size, beside : beside + size] = np.asarray(fitted)
    packed = np.stack([column[which], row[which]], axis=-1)[:, None]
    return whole, np.asarray((uv - tile[:, None] + packed) / side, dtype=np.float32)


def _tile(uv: Floats) -> Any:
    """Column and row, ``f 2``, of the tile in whose middle part a face lies."""
    return np.floor(np.nan_to_num(uv).mean(1))


def _numbers(tile: Any) -> Any:
    """Numbers of tiles; those that have none are taken for the first."""
    column, row = tile.T
    is_tile = (column >= 0) & (column < 10) & (row >= 0) & (row < 900)
    return np.where(is_tile, 1001 + column + 10 * row, 1001).astype(np.int64)


def _named(name: str, number: int) -> str:
    if _TOKEN.search(name):
        return _TOKEN.sub(str(number), name)
    return _FIRST.sub(str(number), name)
