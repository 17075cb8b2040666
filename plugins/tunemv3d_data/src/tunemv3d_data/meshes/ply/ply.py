"""PLY files as parts: one for each texture, or one with the colours of vertices or faces."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.materials import Material
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.parts import Part
from tunemv3d_data.meshes.ply.elements import Element, read_elements
from tunemv3d_data.meshes.surfaces import Indices, Polygons, Values, painted_part, scaled_colours
from tunemv3d_data.notes import note

_COLOURS = (
    ("red", "green", "blue", "alpha"),
    ("diffuse_red", "diffuse_green", "diffuse_blue", "diffuse_alpha"),
    ("r", "g", "b", "a"),
)
_TEXTURE_COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_NO_ELEMENT = Element(0, {})


def read_ply(data: bytes, neighbours: Neighbours) -> list[Part]:
    """Read a PLY file as parts.

    Colours of vertices or faces beside a texture mostly repeat it, and only the texture is shown.

    Args:
        data: the file.
        neighbours: finds its textures, which are named in comments ``TextureFile``.

    Raises:
        DatasetError: it holds no faces, is cut off, or makes no sense.
    """
    elements, names = read_elements(data)
    vertex, face = (elements.get(name, _NO_ELEMENT) for name in ("vertex", "face"))
    if not all(axis in vertex.columns for axis in "xyz") and vertex.count:
        raise DatasetError("its vertices lack x, y or z")
    _refuse_splats(vertex)
    if not face.count and "tristrips" in elements:
        corners, counts = _strips(elements["tristrips"])
    else:
        corners, counts = _corners(face)
    polygons = Polygons(
        _columns(vertex, tuple("xyz")),
        corners,
        counts,
        vertex_colours=_colours(vertex),
        face_colours=_colours(face),
        vertex_normals=_columns(vertex, ("nx", "ny", "nz")) if "nx" in vertex.columns else None,
    )
    _note_edges(elements.get("edge", _NO_ELEMENT), polygons)
    polygons = replace(polygons, uv=_texture_coordinates(vertex, face, polygons))
    if names and polygons.uv is not None:
        return list(_textured(polygons, face, names, neighbours))
    if names:
        note("changed colours", f"{names[0]} is named as its texture, but there are no texture coordinates")
    return [painted_part(polygons)]


def _note_edges(edge: Element, polygons: Polygons) -> None:
    """Note edges that are not those of faces."""
    ends = np.sort(_columns(edge, ("vertex1", "vertex2")).astype(np.int64), axis=1)
    if not len(ends) or not len(polygons.corners):
        return
    last = np.cumsum(polygons.counts) - 1
    following = np.roll(polygons.corners, -1)
    full = polygons.counts > 0
    following[last[full]] = polygons.corners[(last - polygons.counts + 1)[full]]
    sides = np.sort(np.stack([polygons.corners, following], axis=-1), axis=1)
    loose = ~np.isin(ends @ np.array([1 << 32, 1]), sides @ np.array([1 << 32, 1]))
    if loose.any():
        note("no surface", f"{loose.sum():,} edges of no face are not shown")


def _refuse_splats(vertex: Element) -> None:
    if {"f_dc_0", "scale_0", "rot_0"} <= set(vertex.columns):
        raise DatasetError("holds Gaussians (a splat), no triangles; export a mesh")


def _columns(element: Element, names: tuple[str, ...]) -> Values:
    if not all(name in element.columns for name in names):
        return np.empty((0, len(names)))
    return np.stack([element.columns[name].astype(np.float64) for name in names], axis=-1)


def _corners(face: Element) -> tuple[Indices, Indices]:
    names = [name for name in face.lists if name in ("vertex_indices", "vertex_index") or len(face.lists) == 1]
    if face.count and not names:
        raise DatasetError("its faces lack vertex_indices")
    if not names:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    values, counts = face.lists[names[0]]
    return _whole(values), counts


def _whole(values: Any) -> Indices:
    if not np.array_equal(np.floor(values), values):
        raise DatasetError("a face names a vertex by what is no whole number")
    return np.asarray(values, dtype=np.int64)


def _strips(element: Element) -> tuple[Indices, Indices]:
    """Triangles of strips, every second turned round; -1 begins a new strip."""
    if not element.lists:
        raise DatasetError("its strips lack vertex_indices")
    values, lengths = next(iter(element.lists.values()))
    values = np.insert(_whole(values), np.cumsum(lengths)[:-1], -1)
    if len(values) < 3:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    triangles = np.stack([values[:-2], values[1:-1], values[2:]], axis=-1)
    begins = np.maximum.accumulate(np.where(values == -1, np.arange(len(values)) + 1, 0))[: len(triangles)]
    odd = (np.arange(len(triangles)) - begins) % 2 == 1
    triangles[odd] = triangles[odd][:, ::-1]
    kept = triangles[(triangles != -1).all(-1)]
    return kept.reshape(-1), np.full(len(kept), 3)


def _colours(element: Element) -> Values | None:
    names = next((names for names in _COLOURS if names[0] in element.columns), None)
    if names is None or not all(name in element.columns for name in names[:3]):
        return None
    found = _columns(element, names if names[3] in element.columns else names[:3])
    kind = element.properties[names[0]].type
    if kind[0] == "f":
        return scaled_colours(found)
    return scaled_colours(found, 65535.0 if kind == "u2" and found.max(initial=0) > 255 else 255.0)


def _texture_coordinates(vertex: Element, face: Element, polygons: Polygons) -> Values | None:
    """Texture coordinates ``c 2`` of the polygons' corners; None for none."""
    if "texcoord" in face.lists:
        values, counts = face.lists["texcoord"]
        if np.array_equal(counts, 2 * polygons.counts):
            return np.nan_to_num(values.astype(np.float64)).reshape(-1, 2)
        note("changed colours", "the texture coordinates of its faces are not two for each corner, and are not read")
    names = next((names for names in _TEXTURE_COORDINATES if all(name in vertex.columns for name in names)), None)
    if names is None or not len(polygons.corners):
        return None
    if not 0 <= polygons.corners.min() <= polygons.corners.max() < vertex.count:
        return None  # refused with the reason where the corners are read
    return np.nan_to_num(_columns(vertex, names))[polygons.corners]


def _textured(polygons: Polygons, face: Element, names: list[str], neighbours: Neighbours) -> Iterator[Part]:
    """Yield a part for each of the textures."""
    number = np.zeros(len(polygons.counts), dtype=np.int64)
    if "texnumber" in face.columns and len(names) > 1:
        number = np.nan_to_num(face.columns["texnumber"].astype(np.float64)).astype(np.int64)
    for which in np.unique(number):
        texture = neighbours.texture(names[which]) if 0 <= which < len(names) else None
        material = None if texture is None else Material(names[which], texture)
        yield painted_part(polygons.chosen(number == which), material)
