"""Checks of meshers: mesh objects whose shape and colours are known."""

import numpy as np
import torch
from numpy.typing import NDArray

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SampleError
from tunemv3d_core.plugins.registry import load_value
from tunemv3d_core.slots import Mesher, Pictures, TexturedMesh
from tunemv3d_core.testing.check import Check, ConformanceError
from tunemv3d_core.testing.component import ComponentUnderTest
from tunemv3d_core.testing.painted import EGG, RED, SPHERE, Ellipsoid

TOLERANCE = 0.05
"""How far vertices may lie off the surface, world units: a pixel of the views is 0.03."""

SHIFT = 0.01
"""How far the whole mesh may be off, world units: half a cell of 64 along 1.9 units is 0.015."""

SEEN = 0.35
"""Least cosine between a normal and the way to a camera where colours are compared."""

CAMERAS = [30.0, -30.0] * 4
"""Elevations of the views."""


def check_meshes_a_sphere(subject: ComponentUnderTest) -> None:
    """A red sphere becomes a closed mesh near it, oriented outwards, with a red texture."""
    mesh, _ = _meshed(subject, SPHERE)
    _check_arrays(mesh)
    radius = SPHERE.axes[0]
    off = np.abs(np.linalg.norm(mesh.vertices, axis=-1) - radius).max()
    if off > TOLERANCE:
        raise ConformanceError(f"a vertex lies {off:.3f} off a sphere of radius {radius}; at most {TOLERANCE} is asked")
    if not mesh.watertight:
        raise ConformanceError("the mesh of a sphere is not closed: every edge should belong to two faces")
    volume, true = _volume(mesh)[0], 4 / 3 * np.pi * radius**3
    if abs(volume - true) > 0.1 * true:
        raise ConformanceError(f"the mesh holds {volume:.3f}, a sphere {true:.3f}; below 0, faces look inwards")
    if float((mesh.normals * mesh.vertices).sum(-1).min()) <= 0:
        raise ConformanceError("a vertex's normal looks inwards")
    error = np.abs(_texels(mesh) - RED).mean()
    if error > 0.1:
        raise ConformanceError(f"the texture differs by {error:.2f} from the views' one colour; at most 0.1 is asked")


def check_mesh_arrays(subject: ComponentUnderTest) -> None:
    """Its texture coordinates lie in 0 to 1 and belong to the vertices of their faces, and its normals are unit."""
    mesh, _ = _meshed(subject, EGG)
    _check_arrays(mesh)
    if float(mesh.uv.min()) < 0 or float(mesh.uv.max()) > 1:
        raise ConformanceError(
            f"uv range over {mesh.uv.min():.3g} to {mesh.uv.max():.3g}; fractions, 0 to 1, are asked"
        )
    if not np.array_equal(mesh.uv_vertices[mesh.uv_faces], mesh.faces):
        raise ConformanceError("uv_vertices[uv_faces] should be faces: texture coordinates belong to other vertices")
    length = np.linalg.norm(mesh.normals, axis=-1)
    if np.abs(length - 1).max() > 1e-3:
        raise ConformanceError(f"normals have lengths of {length.min():.3g} to {length.max():.3g}; 1 is asked")


def check_meshes_where_it_is(subject: ComponentUnderTest) -> None:
    """An ellipsoid off the centre becomes a mesh at its place and of its size, with the normals of its surface."""
    mesh, _ = _meshed(subject, EGG)
    vertices = torch.from_numpy(mesh.vertices)
    off = float(EGG.signed_distance(vertices).abs().max())
    if off > TOLERANCE:
        raise ConformanceError(
            f"a vertex lies {off:.3f} off an ellipsoid; at most {TOLERANCE} is asked: are axes swapped or mirrored?"
        )
    low, high = (np.array(EGG.centre) + sign * np.array(EGG.axes) for sign in (-1, 1))
    missed = max(np.abs(mesh.vertices.min(0) - low).max(), np.abs(mesh.vertices.max(0) - high).max())
    if missed > TOLERANCE:
        raise ConformanceError(f"the mesh ends {missed:.3f} off an ellipsoid's ends; at most {TOLERANCE} is asked")
    shift = np.abs(_volume(mesh)[1] - EGG.centre).max()
    if shift > SHIFT:
        raise ConformanceError(f"the mesh lies {shift:.3f} beside an ellipsoid; at most {SHIFT} is asked")
    cosine = (torch.from_numpy(mesh.normals) * EGG.normals(vertices)).sum(-1)
    if float(cosine.mean()) < 0.95:
        raise ConformanceError(
            f"normals are not those of the surface: their mean cosine with these is {cosine.mean():.2f}"
        )


def check_painted_where_it_is(subject: ComponentUnderTest) -> None:
    """Texture and vertices have the colours that the views show at their places, sRGB."""
    mesh, _ = _meshed(subject, EGG)
    centres = mesh.vertices[mesh.faces].mean(1)
    vertices = mesh.colours.astype(np.float64) / 255
    for what, places, painted in (("texture", centres, _texels(mesh)), ("colours", mesh.vertices, vertices)):
        points = torch.from_numpy(places)
        to_cameras = torch.nn.functional.normalize(_cameras().origins[:, None] - points, dim=-1)
        seen = ((to_cameras * EGG.normals(points)).sum(-1).amax(0) > SEEN).numpy()
        error = np.abs(painted - EGG.colours(points).numpy())[seen].mean()
        if error > 0.06:
            raise ConformanceError(
                f"its {what} differ by {error:.2f} from what the views show there; at most 0.06 is asked: is it upside "
                "down, from a view that does not see the place, in another colour space?"
            )


def check_refuses_no_surface(subject: ComponentUnderTest) -> None:
    """A shape without a surface is refused by a SampleError."""
    try:
        _mesher(subject)(Nothing((0.5, 0.5, 0.5), colour=RED), SPHERE.pictures(_cameras()), torch.device("cpu"))
    except SampleError:
        return
    except Exception as error:
        raise ConformanceError(f"raises {type(error).__name__} ({error}), not a SampleError") from error
    raise ConformanceError("a mesh is made of a signed distance that is positive everywhere: raise a SampleError")


def check_views_kept(subject: ComponentUnderTest) -> None:
    """It leaves the views as they are: they are saved beside the mesh."""
    (_, views), again = _meshed(subject, EGG), EGG.pictures(_cameras())
    for name in ("colours", "alpha"):
        if not torch.equal(getattr(views, name), getattr(again, name)):
            raise ConformanceError(f"the views' {name} are modified in place; modify a copy")


class Nothing(Ellipsoid):
    """A shape that is nowhere."""

    def signed_distance(self, points: torch.Tensor) -> torch.Tensor:
        """Return 1 everywhere."""
        return torch.ones_like(points[..., 0])


def _cameras() -> Cameras:
    return Cameras.orbit(len(CAMERAS), elevation=CAMERAS)


def _mesher(subject: ComponentUnderTest) -> Mesher:
    """Build it, once: what it keeps of one object must not show in the next."""
    if "mesher" not in subject.kept:
        subject.kept["mesher"] = load_value(subject.plugin.build)(subject.spec)
    mesher: Mesher = subject.kept["mesher"]
    return mesher


def _meshed(subject: ComponentUnderTest, shape: Ellipsoid) -> tuple[TexturedMesh, Pictures]:
    """Mesh a shape, once, and return its views, too."""
    name = f"mesh of {shape}"
    if name not in subject.kept:
        views = shape.pictures(_cameras())
        subject.kept[name] = _mesher(subject)(shape, views, torch.device("cpu")), views
    mesh, views = subject.kept[name]
    return mesh, views


def _volume(mesh: TexturedMesh) -> tuple[float, NDArray[np.float64]]:
    """Return the volume and its centre, by the tetrahedra between the faces and the origin."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]].astype(np.float64) for corner in range(3))
    volumes = (a * np.cross(b, c)).sum(-1) / 6
    centre: NDArray[np.float64] = (volumes[:, None] * (a + b + c) / 4).sum(0) / volumes.sum()
    return float(volumes.sum()), centre


def _texels(mesh: TexturedMesh) -> NDArray[np.float64]:
    """Return the texture's colours at the middles of the faces, ``f 3`` in 0 to 1."""
    centres = mesh.uv[mesh.uv_faces].mean(1)
    column, row = (centres * [1, -1] % 1 * (mesh.texture.shape[1], mesh.texture.shape[0])).astype(int).T
    texels: NDArray[np.float64] = mesh.texture[row, column] / 255
    return texels


def _check_arrays(mesh: TexturedMesh) -> None:
    """Refuse arrays that are not of the shapes and types that ``TexturedMesh`` documents."""
    v, f, u = len(mesh.vertices), len(mesh.faces), len(mesh.uv)
    wanted = {
        "vertices": ((v, 3), np.float32),
        "faces": ((f, 3), np.int32),
        "normals": ((v, 3), np.float32),
        "colours": ((v, 3), np.uint8),
        "uv": ((u, 2), np.float32),
        "uv_vertices": ((u,), np.int32),
        "uv_faces": ((f, 3), np.int32),
        "texture": ((*mesh.texture.shape[:2], 3), np.uint8),
    }
    for name, (shape, dtype) in wanted.items():
        array = getattr(mesh, name)
        if array.shape != shape or array.dtype != dtype:
            raise ConformanceError(
                f"{name} has shape {array.shape} and type {array.dtype}; {shape} and {np.dtype(dtype)} are asked"
            )


CHECKS = (
    Check(check_meshes_a_sphere, ("discoverable",)),
    *(
        Check(ask, ("meshes_a_sphere",))
        for ask in (
            check_mesh_arrays,
            check_meshes_where_it_is,
            check_painted_where_it_is,
            check_views_kept,
            check_refuses_no_surface,
        )
    ),
)
