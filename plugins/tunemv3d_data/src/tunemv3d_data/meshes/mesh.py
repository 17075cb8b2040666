"""Meshes as renderers need them: one triangle soup whose every material is a texture, in the unit sphere, z up."""

import io
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image
from trimesh.resolvers import Resolver

from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.foreign_text import shown
from tunemv3d_data.files import Files
from tunemv3d_data.formats import BLENDER, up_axis
from tunemv3d_data.meshes.blender import to_glb
from tunemv3d_data.meshes.bounds import shown_points
from tunemv3d_data.meshes.checks import MAX_FACES, check_file
from tunemv3d_data.meshes.gltf.read import read_gltf
from tunemv3d_data.meshes.materials import Floats as Floats
from tunemv3d_data.meshes.materials import Material as Material
from tunemv3d_data.meshes.materials import material_of
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.normals import crosses, unit
from tunemv3d_data.meshes.off import read_off
from tunemv3d_data.meshes.parts import Part, check_parts, shading_normals
from tunemv3d_data.meshes.ply.ply import read_ply
from tunemv3d_data.meshes.stl import read_stl
from tunemv3d_data.meshes.textures import MAX_PIXELS, is_picture, opened
from tunemv3d_data.meshes.textures import Bytes as Bytes
from tunemv3d_data.meshes.wavefront.obj import read_obj
from tunemv3d_data.notes import Kind, note
from tunemv3d_data.objects import SourceObject

log = logging.getLogger(__name__)

READERS: dict[str, Callable[[bytes, Neighbours], list[Part]]] = {
    ".obj": read_obj,
    ".ply": read_ply,
    ".stl": read_stl,
    ".off": read_off,
}
"""What reads a format; COLLADA goes through trimesh."""
RADIUS = 0.9
"""Radius of the sphere around the origin into which objects are scaled, world units."""

_Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Mesh:
    """A triangle soup.

    Attributes:
        triangles: ``f 3 3``, corners in world units.
        normals: ``f 3 3``, unit normals at the corners, for shading only; their sign means nothing.
        uv: ``f 3 2``, texture coordinates of the corners, v upwards.
        material: ``f``, index into ``materials``.
        materials: at least one.
        colours: ``f 3 4``, factors of the corners on the texture's colour in linear light and on its alpha, which run
            evenly over a face; None where all are 1.
        from_file: ``4 4``, takes points of the file (of a glTF file's scene) to world units.
    """

    triangles: Floats
    normals: Floats
    uv: Floats
    material: NDArray[np.int32]
    materials: tuple[Material, ...]
    colours: Floats | None = None
    from_file: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    @property
    def size(self) -> Floats:
        """Extent along x, y and z, shape (3,)."""
        corners = self.triangles.reshape(-1, 3)
        return np.asarray(corners.max(0) - corners.min(0), dtype=np.float32)

    def areas(self) -> Floats:
        """Compute the area of every triangle, ``f``."""
        return np.asarray(np.linalg.norm(crosses(self.triangles), axis=-1) / 2, dtype=np.float32)

    def stretched(self, factors: tuple[float, float, float]) -> "Mesh":
        """Scale along x, y and z, and fit into the sphere again."""
        scale = np.asarray(factors, dtype=np.float32)
        normals = np.asarray(unit(self.normals / scale), dtype=np.float32)
        triangles = (self.triangles * scale).astype(np.float64)
        parts = [(self.material == index, material) for index, material in enumerate(self.materials)]
        colours = [None if self.colours is None else self.colours[faces] for faces, _ in parts]
        centre, size = _placement(
            [
                shown_points(triangles[faces], material, self.uv[faces], factor)
                for (faces, material), factor in zip(parts, colours, strict=True)
            ]
        )
        fitted = ((triangles - centre) * size).astype(np.float32)
        moved = _matrix(np.diag(scale.astype(np.float64)), centre, size)
        return replace(self, triangles=fitted, normals=normals, from_file=moved @ self.from_file)


def load_mesh(source: SourceObject, max_faces: int = MAX_FACES) -> Mesh:
    """Load an object as a fitted mesh, z up with its front at -y; ``formats`` says how the formats lie.

    What is missing but can be done without (a texture, a material) is a note.

    Raises:
        DatasetError: the file cannot be read, is too large, or holds no triangles; names it.
    """
    if source.problem:
        raise DatasetError(source.problem)
    where = f"{source.path}{'' if source.member is None else ':' + source.member}"
    try:
        files, name = source.files()
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in BLENDER:
            data, suffix, up = to_glb(source.path), ".glb", "y"
        else:
            data = files.read(name)
            up = source.up or up_axis(suffix, data)
        check_file(data, suffix, max_faces)
        rotation = np.eye(3) if up == "z" else _Y_UP_TO_Z_UP
        if source.rotation is not None:
            rotation = rotation @ np.array(source.rotation).reshape(3, 3)
        with np.errstate(all="ignore"):
            if suffix in (".glb", ".gltf"):
                return assembled(read_gltf(data, Neighbours(files, name), max_faces), rotation, max_faces)
            if suffix in READERS:
                return assembled(READERS[suffix](data, Neighbours(files, name)), rotation, max_faces)
            return from_trimesh(_parsed(data, suffix, _Neighbours(files, name)), rotation, max_faces)
    except TuneMV3DError as error:
        raise DatasetError(f"{where}: {error}") from None
    except MemoryError:
        raise DatasetError(f"{where}: does not fit in memory") from None
    except Exception:  # loaders of other libraries raise whatever their formats provoke
        log.debug("%s", where, exc_info=True)
        raise DatasetError(f"{where}: cannot be read: it is damaged, or not what its name says") from None


def _parsed(data: bytes, suffix: str, neighbours: "_Neighbours") -> Any:
    if suffix == ".dae" and find_spec("collada") is None:
        raise DatasetError("COLLADA is read through pycollada: pip install 'tunemv3d-data[collada]'")
    return trimesh.load(io.BytesIO(data), file_type=suffix[1:], resolver=neighbours, process=False)


class _Neighbours(Resolver):  # type: ignore[misc]
    """Gives trimesh the files beside a mesh, and warns of those that are missing."""

    def __init__(self, files: Files, mesh: str) -> None:
        self.files, self.mesh = files, mesh

    def get(self, name: str) -> bytes:
        found = self.files.beside(self.mesh, name)
        if found is None:
            kind: Kind = "missing texture" if is_picture(name) else "missing file"
            note(kind, f"{name} is missing, or lies outside the source")
            raise DatasetError(f"needs {name}, which is missing or lies outside the source")
        data = self.files.read(found)
        # trimesh would open anything as a picture, PostScript too.
        image = opened(data, name) if is_picture(found) else None
        if image is None:
            raise DatasetError(f"{shown(name)} is no picture")
        if image.width * image.height > 2 * (Image.MAX_IMAGE_PIXELS or MAX_PIXELS):
            note("unreadable texture", f"texture {name}: {image.width} x {image.height} pixels; scale it down")
        return data

    def keys(self) -> list[str]:
        return []

    def namespaced(self, namespace: str) -> "_Neighbours":
        return self

    def write(self, name: str, data: bytes) -> None:
        raise DatasetError("sources are only read")


def from_trimesh(loaded: Any, rotation: Any = None, max_faces: int = MAX_FACES) -> Mesh:
    """Turn a trimesh mesh or scene (its node transforms applied) into a fitted mesh.

    Args:
        loaded: ``trimesh.Trimesh`` or ``trimesh.Scene``.
        rotation: 3x3, applied to the vertices.
        max_faces: that the mesh may have.

    Raises:
        DatasetError: no triangles, too many, or vertices that are not finite.
    """
    parts = []
    for part, matrix in _nodes(loaded):
        material, uv, colours = material_of(part)
        corners = _placed(part, matrix)[_checked(part)]
        parts.append(Part(corners, material, np.asarray(uv, dtype=np.float32), colours=colours))
    return assembled(parts, rotation, max_faces)


def _nodes(loaded: Any) -> Iterator[tuple[trimesh.Trimesh, Any]]:
    """Yield the meshes of a scene, one per node, each with its 4x4 transform."""
    if not isinstance(loaded, trimesh.Scene):
        placed = [(loaded, np.eye(4))]
    else:
        nodes = (loaded.graph[node] for node in loaded.graph.nodes_geometry)
        placed = [(loaded.geometry[name], matrix) for matrix, name in nodes]
    for part, matrix in placed:
        if isinstance(part, trimesh.Trimesh) and len(part.faces):
            yield part, matrix


def _placed(part: trimesh.Trimesh, matrix: Any) -> Any:
    vertices = np.asarray(part.vertices, dtype=np.float64)
    return vertices if np.array_equal(matrix, np.eye(4)) else trimesh.transformations.transform_points(vertices, matrix)


def _checked(part: trimesh.Trimesh) -> Any:
    faces, count = np.asarray(part.faces), len(part.vertices)
    if faces.min() < 0 or faces.max() >= count:
        raise DatasetError(f"has faces of vertices that it lacks: {faces.max() + 1} of {count}")
    return faces


def assembled(parts: Sequence[Part], rotation: Any = None, max_faces: int = MAX_FACES) -> Mesh:
    """Fit parts into the sphere together, and complete their normals.

    Args:
        parts: in any order.
        rotation: 3x3, applied to corners and normals.
        max_faces: that the mesh may have.

    Raises:
        DatasetError: no triangles, too many, or corners that are not finite, all one point, or too far apart.
    """
    check_parts(parts, max_faces)
    turn = np.eye(3) if rotation is None else np.asarray(rotation)
    shown = (shown_points(part.triangles, part.material, part.uv, part.colours) for part in parts)
    centre, scale = _placement([points @ turn.T for points in shown])
    triangles = np.concatenate([((part.triangles @ turn.T - centre) * scale).astype(np.float32) for part in parts])
    uvs = [np.zeros((len(part.triangles), 3, 2), dtype=np.float32) if part.uv is None else part.uv for part in parts]
    # Parts may share a material, whose texture is then kept once.
    materials = {id(part.material): part.material for part in parts}
    numbers = {key: number for number, key in enumerate(materials)}
    return Mesh(
        triangles,
        shading_normals(triangles, parts, turn),
        np.nan_to_num(np.concatenate(uvs)),
        np.repeat([np.int32(numbers[id(part.material)]) for part in parts], [len(part.triangles) for part in parts]),
        tuple(materials.values()),
        _factors(parts),
        _matrix(turn, centre, scale),
    )


def _factors(parts: Sequence[Part]) -> Floats | None:
    """Factors on the colours of all parts, 1 where a part has none."""
    if all(part.colours is None for part in parts):
        return None
    ones = (np.ones((len(part.triangles), 3, 4), dtype=np.float32) for part in parts)
    return np.concatenate(
        [one if part.colours is None else part.colours for part, one in zip(parts, ones, strict=True)]
    )


def _matrix(turn: Any, centre: Any, scale: float) -> NDArray[np.float64]:
    """The ``4 4`` matrix of ``(turn @ point - centre) * scale``."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = scale * turn, -scale * centre
    return matrix


def _placement(points: list[Any]) -> tuple[Any, float]:
    """The centre of the points' bounding box, and what scales the farthest one to ``RADIUS``."""
    if not any(len(p) for p in points):
        raise DatasetError("shows nothing: all of it is see-through")
    low, high = (np.stack([extreme(p, 0) for p in points if len(p)]) for extreme in (np.min, np.max))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise DatasetError("has vertices that are not finite")
    centre = (high.max(0) + low.min(0)) / 2
    with np.errstate(all="ignore"):
        radius = max(float(np.linalg.norm(p - centre, axis=1).max()) for p in points if len(p))
    if not 0 < radius < np.inf:
        raise DatasetError("all its vertices are one point" if radius == 0 else "is too large for numbers")
    return centre, RADIUS / radius
