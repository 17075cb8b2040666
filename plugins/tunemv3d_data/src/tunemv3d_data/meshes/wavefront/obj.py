"""OBJ files as parts: their polygons as triangles, one part for each material."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.materials import UNPAINTED, Material, coloured, plain, srgb_to_linear
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.parts import Part
from tunemv3d_data.meshes.polygons import triangulate
from tunemv3d_data.meshes.wavefront.corners import read_corners
from tunemv3d_data.meshes.wavefront.mtl import Look, painted, read_materials
from tunemv3d_data.meshes.wavefront.statements import Statements, listed, statements
from tunemv3d_data.notes import note
from tunemv3d_data.text import decoded, numbers

Values = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class _Triangles:
    """All triangles of a file.

    Attributes:
        corners: ``t 3 3``, indices from 1 of vertex, texture coordinate and normal of their corners, 0 for none.
        points, uv, normals: ``n 3``, ``n 2`` and ``n 3``, what they number.
        colours: ``n 3`` sRGB of the vertices, 0 to 1; None for none.
    """

    corners: Indices
    points: Values
    uv: Values
    normals: Values
    colours: Values | None

    def of(self, chosen: Indices) -> "_Triangles":
        """Choose some of them."""
        return replace(self, corners=self.corners[chosen])


def read_obj(data: bytes, neighbours: Neighbours) -> list[Part]:
    """Read an OBJ file as parts, one for each material.

    Colours of vertices show where the material has no texture, instead of its Kd; beside a texture they mostly repeat
    it, and only the texture shows, as in Blender. Smoothing groups are not read.

    Args:
        data: the file.
        neighbours: finds its materials and textures.

    Raises:
        DatasetError: it holds no faces, or a line of it makes no sense; names the line.
    """
    said = statements(decoded(data))
    corners, counts = read_corners(said)
    points, widths = numbers(said.rows["v"], lambda row: said.line_of("v", row), 3)
    is_polygon = counts >= 3
    if not is_polygon.any():
        raise DatasetError(_no_faces(said))
    if not is_polygon.all():
        note("no surface", f"{(~is_polygon).sum():,} faces of fewer than three corners are left out")
        corners = corners[np.repeat(is_polygon, counts)]
    triangles, polygon = triangulate(points[corners[:, 0] - 1, :3], counts[is_polygon])
    found = _Triangles(
        corners[triangles],
        points[:, :3],
        _texture_coordinates(said),
        numbers(said.rows["vn"], lambda row: said.line_of("vn", row), 3)[0][:, :3],
        _colours(points, widths),
    )
    looks, look_of_face = _looks(said, neighbours)
    if found.colours is None and (look_of_face == 0).any():
        note("untextured", "has parts without a known material; they are shown grey")
    look = look_of_face[np.flatnonzero(is_polygon)[polygon]]
    groups = ((looks[index], found.of(np.flatnonzero(look == index))) for index in np.unique(look))
    return [part for look, chosen in groups for part in _parts(look, chosen, neighbours)]


def _no_faces(said: Statements) -> str:
    if said.unshown:
        return f"holds no triangles, but {listed(said.unshown)}; convert them to polygons"
    if said.rows["v"]:
        return f"holds no triangles, but a cloud of {len(said.rows['v']):,} points; make a surface of it first"
    return "holds no triangles"


def _texture_coordinates(said: Statements) -> Values:
    found, widths = numbers(said.rows["vt"], lambda row: said.line_of("vt", row), 1)
    uv = np.zeros((len(found), 2))
    uv[:, : found.shape[1]] = found[:, :2]
    uv[widths == 1, 1] = 0
    if not np.isfinite(uv).all():
        note("changed colours", "has texture coordinates that are not finite; 0 instead")
        uv[~np.isfinite(uv)] = 0
    return uv


def _colours(points: Values, widths: Indices) -> Values | None:
    """Colours behind the places of vertices, from 0 to 1 or to 255; white where a vertex has none."""
    if points.shape[1] < 6:
        return None
    colours = points[:, 3:6].copy()
    colours[(widths < 6) | ~np.isfinite(colours).all(1)] = np.nan
    if np.nanmax(colours, initial=0) > 1:
        colours /= 255
    colours = np.nan_to_num(colours, nan=1).clip(0, 1)
    return None if (colours == 1).all() else colours


def _looks(said: Statements, neighbours: Neighbours) -> tuple[list[Look | None], Indices]:
    """Find the materials that faces use, None for unknown ones: and which of them each face has."""
    libraries = [_library(line, neighbours) for line in said.libraries]
    namesake = PurePosixPath(neighbours.mesh).with_suffix(".mtl").name
    looks: list[Look | None] = [None]
    lacking: dict[str, None] = {}
    numbers_of: dict[int, int] = {}
    of_face = np.zeros(len(said.rows["f"]), dtype=np.int64)
    for first, known, name in said.uses:
        nearest = (*reversed(libraries[:known]), *libraries[known:])  # the last one named before goes first
        look = next((library[name] for library in nearest if name in library), None)
        if look is None and name and neighbours.has(namesake) and namesake not in said.libraries:
            note("missing file", f"{', '.join(said.libraries) or 'no material file'}: {namesake} is read instead")
            libraries.append(read_materials(_text(namesake, neighbours), namesake))
            said.libraries.append(namesake)
            look = libraries[-1].get(name)
        if look is None and name:
            lacking[name] = None
        if look is not None and id(look) not in numbers_of:
            numbers_of[id(look)] = len(looks)
            looks.append(look)
        of_face[first:] = 0 if look is None else numbers_of[id(look)]
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        note("missing file", f"no material file describes {', '.join(list(lacking)[:3])}{more}")
    return looks, of_face


def _library(line: str, neighbours: Neighbours) -> dict[str, Look]:
    """The materials of the file, or files, that a line names; the first of several goes first."""
    names = [line] if neighbours.has(line) or ".mtl " not in line.lower() else line.split()
    found: dict[str, Look] = {}
    for name in names:
        found = read_materials(_text(name, neighbours), name) | found
    return found


def _text(name: str, neighbours: Neighbours) -> str:
    return decoded(neighbours.read(name) or b"")


def _parts(look: Look | None, chosen: _Triangles, neighbours: Neighbours) -> Iterator[Part]:
    """The parts of one material: textured and not, with colours of vertices and without."""
    textured = look is not None and look.is_textured
    has_uv = (chosen.corners[..., 1] > 0).all(1) if textured else np.zeros(len(chosen.corners), dtype=bool)
    if look is not None and textured and not has_uv.all():
        missing = f"{(~has_uv).sum():,} faces of {look.name} lack texture coordinates"
        note("changed colours", f"{missing}; they have the mean colour of the texture")
    for flag in (True, False):
        some = chosen if (has_uv == flag).all() else chosen.of(np.flatnonzero(has_uv == flag))
        if (has_uv == flag).any():
            yield _part(look, some, flag, neighbours)


def _part(look: Look | None, chosen: _Triangles, has_uv: bool, neighbours: Neighbours) -> Part:
    vertex, coordinate, normal = np.moveaxis(chosen.corners, -1, 0)
    uv = chosen.uv[coordinate - 1].astype(np.float32) if has_uv else None
    colours = None
    if look is None:
        material = Material("", plain(UNPAINTED))
    else:
        material, uv = painted(look, uv, neighbours)
    corners = None if chosen.colours is None else chosen.colours[vertex - 1]
    if corners is not None and not (corners == 1).all():
        if material.texture.shape[:2] == (1, 1):
            mean, colours = coloured(np.pad(srgb_to_linear(corners), ((0, 0), (0, 0), (0, 1)), constant_values=1))
            material = replace(material, texture=mean.texture)
        else:
            note("changed colours", "colours of vertices beside a texture are not shown")
    normals = None
    if (normal > 0).any():
        normals = chosen.normals[normal - 1].astype(np.float32)
        normals[normal == 0] = 0
    return Part(chosen.points[vertex - 1], material, uv, normals, colours)
