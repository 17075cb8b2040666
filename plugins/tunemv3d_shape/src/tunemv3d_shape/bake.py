"""Colour a surface from pictures of it.

Every point asks the views that see it; those that look straight at it and well inside the object count most. What no
view sees takes its colour from further pictures, such as the field's own, and at last from its neighbours in space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Pictures
from tunemv3d_shape.surface import Floats, Triangles
from tunemv3d_shape.tracing import Tracer
from tunemv3d_shape.unwrap import Unwrapped

Colours = NDArray[np.uint8]

TOUCH = 0.01
"""A ray that ends so near before a point has reached it, world units."""

EDGE = 3.0
"""Pixels from an outline within which a picture counts less: there object and ground mix."""

STEP = 0.08
"""A pixel whose depth differs by more from a point's shows another part of the surface, world units."""

PREFERENCE = 4.0
"""Exponent by which the best view is preferred: at 0 all count alike, which blurs; high values show seams."""

WELL, LEAST = 0.2, 0.05
"""Least weights of a view: every source is asked first for what it sees well, then for what it sees at its outlines."""

NEIGHBOURS = 50_000
"""About how many of the coloured points are candidates for giving their colour to others."""


@dataclass(frozen=True)
class Points:
    """Points of a surface.

    Attributes:
        places: ``p 3``, world units.
        normals: ``p 3``, outward, unit.
    """

    places: Floats
    normals: Floats


def bake(unwrapped: Unwrapped, surface: Triangles, sources: Sequence[Pictures], size: int) -> Colours:
    """A texture ``size size 3``, sRGB, row 0 at the top, filled beyond the charts.

    Args:
        unwrapped: of ``surface``.
        surface: what is coloured, and what hides parts of itself.
        sources: pictures; later ones are asked where those before see nothing.
        size: texels along a side.
    """
    covered, points = texel_points(unwrapped, surface, size)
    texture = np.zeros((size, size, 3), dtype=np.uint8)
    texture[covered] = to_bytes(colour(points, surface, sources))
    nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
    return np.ascontiguousarray(texture[tuple(nearest)])


def bake_vertices(surface: Triangles, sources: Sequence[Pictures]) -> Colours:
    """Colours of the vertices, ``v 3``, sRGB."""
    return to_bytes(colour(Points(surface.vertices, vertex_normals(surface)), surface, sources))


def texel_points(unwrapped: Unwrapped, surface: Triangles, size: int) -> tuple[NDArray[np.bool_], Points]:
    """Find the texels ``size size`` that lie on a chart, and their points in the world, row by row."""
    flat = np.concatenate([unwrapped.uv, np.zeros_like(unwrapped.uv[:, :1])], axis=1)
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    u, v = np.meshgrid(centres, 1 - centres)
    above = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3).astype(np.float32)
    face, weights = Tracer(flat, unwrapped.faces).places(above, np.full_like(above, (0, 0, -1)))
    on_chart = face >= 0
    corners, weights = unwrapped.original[unwrapped.faces[face[on_chart]]], weights[on_chart, :, None]
    normals = (vertex_normals(surface)[corners] * weights).sum(1)
    places = (surface.vertices[corners] * weights).sum(1)
    return on_chart.reshape(size, size), Points(places, _unit(normals))


def colour(points: Points, surface: Triangles, sources: Sequence[Pictures]) -> Floats:
    """Colours of points ``p 3`` in [0, 1]; white only where no source sees anything of the surface."""
    tracer = Tracer(surface.vertices, surface.faces)
    found = np.ones_like(points.places)
    missing = np.arange(len(found))
    for least, pictures in product((WELL, LEAST), sources):
        mixed, known = _blend(Points(points.places[missing], points.normals[missing]), tracer, pictures, least)
        found[missing[known]] = mixed[known]
        missing = missing[~known]
    if 0 < len(missing) < len(found):
        found[missing] = _of_neighbours(points.places, found, missing)
    return found


def vertex_normals(surface: Triangles) -> Floats:
    """Outward unit normals of the vertices, ``v 3``: the mean of their faces' by area; upwards where there is none."""
    corners = surface.vertices[surface.faces].astype(np.float64)
    of_faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = [
        np.bincount(surface.faces.reshape(-1), np.repeat(of_faces[:, axis], 3), minlength=len(surface.vertices))
        for axis in range(3)
    ]
    normals = np.stack(sums, axis=-1).astype(np.float64)
    normals[np.linalg.norm(normals, axis=-1) < 1e-12] = (0, 0, 1)
    return _unit(normals)


def to_bytes(colours: Floats) -> Colours:
    """[0, 1] to 0 to 255."""
    return np.asarray((np.clip(colours, 0, 1) * 255).round(), dtype=np.uint8)


def _of_neighbours(places: Floats, colours: Floats, missing: NDArray[np.intp]) -> Floats:
    """Colours for points without one, from the nearest that have one."""
    known = np.delete(np.arange(len(places)), missing)
    known = known[:: max(1, len(known) // NEIGHBOURS)]
    distance, which = cKDTree(places[known]).query(places[missing], k=min(4, len(known)))
    share = 1 / (distance.reshape(len(missing), -1, 1) + 1e-3)
    near = colours[known][which.reshape(len(missing), -1)]
    return np.asarray((near * share).sum(1) / share.sum(1), dtype=np.float32)


def _blend(points: Points, tracer: Tracer, pictures: Pictures, least: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Colours of points as the pictures show them, ``p 3``, and which points any of them shows, ``p``."""
    sums = np.zeros_like(points.places)
    totals = np.zeros(len(sums), dtype=np.float32)
    for index in range(len(pictures.alpha)):
        view = _view(tracer, pictures, index)
        position = view.camera.origins.numpy().astype(np.float32)
        way = points.places - position
        facing = -(points.normals * _unit(way)).sum(-1)
        ahead = np.nonzero(facing > least)[0]
        reached = tracer.distances(np.broadcast_to(position, way[ahead].shape).copy(), way[ahead])
        seen = ahead[reached > 1 - TOUCH / np.linalg.norm(way[ahead], axis=-1)]
        shown, inside = view.sample(points.places[seen])
        weight = facing[seen] * inside
        weight = np.where(weight > least, weight**PREFERENCE, 0)
        sums[seen] += shown * weight[:, None]
        totals[seen] += weight
    return np.asarray(sums / np.maximum(totals, 1e-12)[:, None], np.float32), totals > 0


@dataclass(frozen=True)
class _View:
    """Picture with the part of the surface that each of its pixels shows.

    Attributes:
        camera: without batch axes.
        colours: ``H W 3``.
        depth: ``H W``, of the surface; infinite where a pixel shows none, or lies outside the mask.
        inwardness: ``H W``, 0 outside the mask, 1 from ``EDGE`` pixels inside on.
    """

    camera: Cameras
    colours: Floats
    depth: Floats
    inwardness: Floats

    def sample(self, places: Floats) -> tuple[Floats, Floats]:
        """Colours of points ``p 3`` and how far they lie inside the object, ``p``.

        Of the four pixels around a point only those count that show the surface where the point is.
        """
        height, width = self.depth.shape
        at, depth = (z.numpy() for z in self.camera.project(torch.from_numpy(places)))
        x, y = at[:, 0] * width - 0.5, at[:, 1] * height - 0.5
        left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        colours, inwardness, total = np.zeros_like(places), np.zeros_like(depth), np.zeros_like(depth)
        for column, across in ((left, left + 1 - x), (left + 1, x - left)):
            for row, down in ((top, top + 1 - y), (top + 1, y - top)):
                inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
                pixel = row.clip(0, height - 1), column.clip(0, width - 1)
                share = np.where(inside & (np.abs(self.depth[pixel] - depth) < STEP), across * down, 0)
                colours += share[:, None] * self.colours[pixel]
                inwardness += share * self.inwardness[pixel]
                total += share
        return np.asarray(colours / np.maximum(total, 1e-6)[:, None], np.float32), np.asarray(inwardness, np.float32)


def _view(tracer: Tracer, pictures: Pictures, index: int) -> _View:
    camera: Cameras = pictures.cameras[index].to("cpu")
    inside = pictures.alpha[index].cpu().numpy() > 0.5
    depth = np.where(inside, tracer.depth(camera, pictures.size), np.inf).astype(np.float32)
    far_in = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    colours = pictures.colours[index].movedim(0, -1).cpu().numpy()
    return _View(camera, colours, depth, np.clip((far_in - 0.5) / EDGE, 0, 1).astype(np.float32))


def _unit(vectors: NDArray[np.floating]) -> Floats:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20), dtype=np.float32)
