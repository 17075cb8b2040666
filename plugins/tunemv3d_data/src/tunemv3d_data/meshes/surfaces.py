"""Surfaces of formats without materials (PLY, OFF, STL): polygons with colours of vertices or faces, as parts."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.materials import UNPAINTED, Material, coloured, plain, srgb_to_linear
from tunemv3d_data.meshes.parts import Part
from tunemv3d_data.meshes.polygons import triangulate
from tunemv3d_data.notes import note

Indices = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Polygons:
    """Polygons of a file.

    Attributes:
        points: ``n 3`` vertices.
        corners: ``c``, from 0, the vertices of the polygons' corners, one polygon after the other.
        counts: ``p``, corners of each polygon.
        vertex_colours, face_colours: ``n 4`` and ``p 4``, sRGB with alpha, 0 to 1; None for none.
        vertex_normals: ``n 3``; None for none.
        uv: ``c 2`` texture coordinates of the corners; None for none.
    """

    points: Values
    corners: Indices
    counts: Indices
    vertex_colours: Values | None = None
    face_colours: Values | None = None
    vertex_normals: Values | None = None
    uv: Values | None = None

    def chosen(self, polygons: NDArray[np.bool_]) -> "Polygons":
        """Choose some of the polygons."""
        corners = np.repeat(polygons, self.counts)
        return replace(
            self,
            corners=self.corners[corners],
            counts=self.counts[polygons],
            face_colours=None if self.face_colours is None else self.face_colours[polygons],
            uv=None if self.uv is None else self.uv[corners],
        )

    def triangles(self) -> tuple["Polygons", Indices, Indices]:
        """Leave out what has fewer than three corners, and divide the rest into triangles.

        Returns:
            polygons: those that are left.
            triangles: ``t 3``, indices of their corners.
            polygon: ``t``, which of the polygons each belongs to.

        Raises:
            DatasetError: no polygons, or a vertex that does not exist.
        """
        if not len(self.counts) and len(self.points):
            reason = f"holds no triangles, but a cloud of {len(self.points):,} points; make a surface of it first"
            raise DatasetError(reason)
        if not len(self.counts):
            raise DatasetError("holds no triangles")
        if len(self.corners) and not 0 <= self.corners.min() <= self.corners.max() < len(self.points):
            wrong = self.corners[(self.corners < 0) | (self.corners >= len(self.points))][0]
            raise DatasetError(f"a face lacks its vertex {wrong}; the file has {len(self.points):,}, counted from 0")
        kept = self.counts >= 3
        if not kept.all():
            note("no surface", f"{(~kept).sum():,} faces of fewer than three corners are left out")
        some = self if kept.all() else self.chosen(kept)
        return some, *triangulate(some.points[some.corners], some.counts)


def painted_part(polygons: Polygons, texture: Material | None = None) -> Part:
    """Make a part of polygons.

    Args:
        polygons: at least one.
        texture: what lies on them by their ``uv``. Colours beside it mostly repeat it, and only the texture is shown;
            with None the part has the colours of its faces, else of its vertices, else it is grey.

    Raises:
        DatasetError: no polygons, or a vertex that does not exist.
    """
    polygons, triangles, polygon = polygons.triangles()
    vertex = polygons.corners[triangles]
    normals = None if polygons.vertex_normals is None else polygons.vertex_normals[vertex].astype(np.float32)
    part = Part(polygons.points[vertex], texture or Material("", plain(UNPAINTED)), normals=normals)
    if texture is not None and polygons.uv is not None:
        if polygons.vertex_colours is not None or polygons.face_colours is not None:
            note("changed colours", "colours of vertices or faces beside a texture are not shown")
        return replace(part, uv=polygons.uv[triangles].astype(np.float32))
    colours = _corner_colours(polygons, vertex, polygon)
    if colours is None:
        note("untextured", "has no colours; it is shown grey")
        return part
    material, factors = coloured(colours)
    return replace(part, material=material, colours=factors)


def _corner_colours(polygons: Polygons, vertex: Indices, polygon: Indices) -> Any:
    """Colours of corners ``t 3 4`` in linear light; None where there are none."""
    if polygons.face_colours is not None:
        if polygons.vertex_colours is not None:
            note("changed colours", "has colours of vertices and of faces; those of the faces are shown")
        found = np.repeat(polygons.face_colours[polygon][:, None], 3, axis=1)
    elif polygons.vertex_colours is not None:
        found = polygons.vertex_colours[vertex]
    else:
        return None
    if (found[..., 3] < 1).any():
        note("changed colours", "colours with an alpha below 1 are shown opaque")
    colours = np.ones(found.shape, dtype=np.float32)
    colours[..., :3] = srgb_to_linear(found[..., :3])
    return colours


def scaled_colours(columns: Values, largest: float | None = None) -> Values:
    """Bring colours ``n 3`` or ``n 4`` to 0 to 1, with alpha.

    Args:
        columns: as in the file.
        largest: what stands for 1; None takes 1, or 255 where a colour is larger than 1.
    """
    if largest is None:
        largest = 255.0 if np.nanmax(columns, initial=0) > 1 else 1.0
    colours = np.ones((len(columns), 4))
    colours[:, : columns.shape[1]] = np.nan_to_num(columns / largest, nan=1.0, posinf=1.0, neginf=0.0).clip(0, 1)
    return colours
