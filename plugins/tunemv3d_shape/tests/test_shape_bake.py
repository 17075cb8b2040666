"""Textures of painted toys against the paint; pictures come from an independent renderer."""

import numpy as np
import pytest
import torch
from shape_toys import box, numpy_of, seen, sphere, stripes, union

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Pictures
from tunemv3d_shape.bake import Points, bake, bake_vertices, colour, texel_points, vertex_normals
from tunemv3d_shape.simplify import simplify
from tunemv3d_shape.surface import extract_surface
from tunemv3d_shape.tracing import silhouette_iou
from tunemv3d_shape.unwrap import unwrap

AROUND = Cameras.cat([Cameras.orbit(4, elevation=20), Cameras.orbit(2, elevation=70), Cameras.orbit(2, elevation=-60)])


@pytest.mark.parametrize("shape", [sphere(0.6), box((0.4, 0.5, 0.3))])
def test_every_texel_has_the_paint_of_its_place(shape: object) -> None:
    surface = simplify(extract_surface(shape, 64), 3000)
    unwrapped, _ = unwrap(surface, 256)
    pictures = seen(numpy_of(shape), AROUND, 96)
    texture = bake(unwrapped, surface, [pictures], 256)
    covered, points = texel_points(unwrapped, surface, 256)
    error = np.abs(texture[covered] / 255 - stripes(points.places)).mean(-1)
    assert 0.3 < covered.mean() < 1
    assert error.mean() < 0.015 and np.quantile(error, 0.99) < 0.06
    of_vertices = np.abs(bake_vertices(surface, [pictures]) / 255 - stripes(surface.vertices))
    assert of_vertices.mean() < 0.015


def test_texels_lie_on_the_surface_that_they_colour() -> None:
    surface = simplify(extract_surface(sphere(0.6), 64), 3000)
    unwrapped, _ = unwrap(surface, 128)
    _covered, points = texel_points(unwrapped, surface, 128)
    np.testing.assert_allclose(np.linalg.norm(points.places, axis=-1), 0.6, atol=0.005)
    np.testing.assert_allclose(points.normals, points.places / 0.6, atol=0.1)
    np.testing.assert_array_equal(unwrapped.vertices, surface.vertices[unwrapped.original])
    assert 0 <= unwrapped.uv.min() and unwrapped.uv.max() <= 1


def test_what_is_hidden_does_not_take_the_colour_of_what_hides_it() -> None:
    """A red ball in front of a blue wall, seen from the front: the wall behind the ball stays blue."""
    shape = union(sphere(0.2, (0, -0.5, 0)), box((0.6, 0.05, 0.6)))

    def paint(points: np.ndarray) -> np.ndarray:
        return np.where(points[..., 1:2] < -0.2, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9])

    front = Cameras.orbit(1, elevation=0)
    surface = extract_surface(shape, 96)
    pictures = seen(numpy_of(shape), front, 128, paint)
    normals = vertex_normals(surface)
    wall = (np.abs(surface.vertices[:, 1] + 0.05) < 0.005) & (normals[:, 1] < -0.9)
    found = colour(Points(surface.vertices, normals), surface, [pictures])[wall]
    behind = np.linalg.norm(surface.vertices[wall][:, [0, 2]], axis=-1) < 0.2
    assert behind.sum() > 100
    assert np.abs(found[behind] - [0.1, 0.1, 0.9]).max() < 0.1
    assert np.abs(found - [0.1, 0.1, 0.9]).mean() < 0.01


def test_what_no_view_sees_is_asked_elsewhere_and_then_of_neighbours() -> None:
    shape = sphere(0.6)
    surface = extract_surface(shape, 48)
    points = Points(surface.vertices, vertex_normals(surface))
    front, back = (seen(numpy_of(shape), Cameras.orbit(1, azimuth=a), 96, lambda p, v=v: np.full(p.shape, v))
                   for a, v in ((0, 0.2), (180, 0.8)))  # fmt: skip
    alone, both = colour(points, surface, [front]), colour(points, surface, [front, back])
    assert np.abs(alone - 0.2).max() < 0.02
    rear = surface.vertices[:, 1] > 0.4
    assert np.abs(both[rear] - 0.8).max() < 0.02
    ahead = surface.vertices[:, 1] < -0.4
    assert np.abs(both[ahead] - 0.2).max() < 0.02


def test_the_ground_around_an_object_does_not_bleed_in() -> None:
    """The ground is bright green under alpha 0 and mixes into the outermost pixels."""
    shape = sphere(0.6)
    pictures = seen(numpy_of(shape), AROUND, 96, lambda p: np.full(p.shape, 0.5))
    ground = torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    mixed = torch.where(pictures.alpha[:, None] > 0.5, pictures.colours, ground)
    blurred = torch.nn.functional.avg_pool2d(mixed, 3, 1, 1, count_include_pad=False)
    surface = extract_surface(shape, 48)
    found = bake_vertices(surface, [Pictures(blurred, pictures.alpha, AROUND)]) / 255
    assert np.abs(found - 0.5).mean() < 0.01 and np.abs(found - 0.5).max() < 0.15


def test_silhouettes_of_a_surface_are_those_of_its_formula() -> None:
    shape = box((0.4, 0.5, 0.3))
    surface = extract_surface(shape, 96)
    assert silhouette_iou(surface, seen(numpy_of(shape), AROUND, 96)) > 0.98
    assert silhouette_iou(surface, seen(numpy_of(box((0.3, 0.4, 0.2))), AROUND, 96)) < 0.7
