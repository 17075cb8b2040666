"""Meshes as renderers need them: one triangle soup whose every material is a texture, in the unit sphere, z up."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.sources.objects import SourceObject
from tunemv3d_data.sources.sweethome import load_member

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

RADIUS = 0.9
"""Of the sphere around the origin into which objects are scaled, world units."""

_CREASE = np.cos(np.radians(45.0))
_Z_UP_FORMATS = (".ply", ".stl", ".off")
_Y_UP_TO_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
_GLASS = np.array([0.80, 0.88, 0.90])


@dataclass(frozen=True)
class Material:
    """A surface's look: its name and its texture, ``h w 4`` sRGB with alpha. A plain colour is a texture of 1 x 1."""

    name: str
    texture: Bytes

    @property
    def colour(self) -> Floats:
        """Mean sRGB colour of the opaque part, 0 to 1, shape (3,)."""
        opaque = self.texture[self.texture[..., 3] > 127]
        pixels = opaque if len(opaque) else self.texture.reshape(-1, 4)
        return np.asarray(pixels[:, :3].mean(0) / 255, dtype=np.float32)


@dataclass(frozen=True)
class Mesh:
    """A triangle soup.

    Attributes:
        triangles: ``f 3 3``, corners in world units.
        normals: ``f 3 3``, unit normals at the corners, for shading only; their sign means nothing.
        uv: ``f 3 2``, texture coordinates of the corners, v upwards, repeating.
        material: ``f``, index into ``materials``.
        materials: at least one.
    """

    triangles: Floats
    normals: Floats
    uv: Floats
    material: NDArray[np.int32]
    materials: tuple[Material, ...]

    @property
    def size(self) -> Floats:
        """Extent along x, y and z, shape (3,)."""
        corners = self.triangles.reshape(-1, 3)
        return np.asarray(corners.max(0) - corners.min(0), dtype=np.float32)

    def areas(self) -> Floats:
        """Area of every triangle, ``f``."""
        return np.asarray(np.linalg.norm(_cross(self.triangles), axis=-1) / 2, dtype=np.float32)

    def stretched(self, factors: tuple[float, float, float]) -> "Mesh":
        """Scaled along x, y and z, and fitted into the sphere again."""
        scale = np.asarray(factors, dtype=np.float32)
        normals = np.asarray(_unit(self.normals / scale), dtype=np.float32)
        return replace(self, triangles=fit(self.triangles * scale), normals=normals)


def load_mesh(source: SourceObject) -> Mesh:
    """Load an object as a fitted mesh. OBJ and GLB are y up with the front at +z; PLY, STL and OFF z up, front at -y.

    Raises:
        DatasetError: the file cannot be read or holds no triangles; names it.
    """
    where = f"{source.path}{'' if source.member is None else ':' + source.member}"
    try:
        if source.member is None:
            loaded = trimesh.load(source.path, process=False)
        else:
            loaded = load_member(source.path, source.member)
    except DatasetError:
        raise
    except Exception as error:  # trimesh's loaders raise whatever their formats provoke
        raise DatasetError(f"{where}: cannot be read: {type(error).__name__}: {error}") from None
    suffix = (source.member or source.path.name)[-4:].lower()
    rotation = np.eye(3) if suffix in _Z_UP_FORMATS else _Y_UP_TO_Z_UP
    if source.rotation is not None:
        rotation = rotation @ np.array(source.rotation).reshape(3, 3)
    try:
        return from_trimesh(loaded, rotation)
    except DatasetError as error:
        raise DatasetError(f"{where}: {error}") from None


def from_trimesh(loaded: Any, rotation: Any = None) -> Mesh:
    """Turn a trimesh mesh or scene (its node transforms applied) into a fitted mesh.

    Args:
        loaded: ``trimesh.Trimesh`` or ``trimesh.Scene``.
        rotation: 3x3, applied to the vertices.

    Raises:
        DatasetError: no triangles, or vertices that are not finite.
    """
    dumped = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
    parts = [part for part in dumped if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not parts:
        raise DatasetError("holds no triangles")
    triangles, uvs, indices = [], [], []
    materials: list[Material] = []
    for part in parts:
        material, uv = _material(part)
        triangles.append(part.vertices[part.faces])
        uvs.append(uv)
        indices.append(np.full(len(part.faces), len(materials), dtype=np.int32))
        materials.append(material)
    corners = np.concatenate(triangles) @ (np.eye(3) if rotation is None else np.asarray(rotation)).T
    if not np.isfinite(corners).all():
        raise DatasetError("has vertices that are not finite")
    corners = fit(corners)
    uv = np.nan_to_num(np.concatenate(uvs)).astype(np.float32)
    return Mesh(corners, _smooth_normals(corners), uv, np.concatenate(indices), tuple(materials))


def fit(triangles: Any) -> Floats:
    """Centre corners ``f 3 3`` on their bounding box and scale the farthest one to ``RADIUS``."""
    points = np.asarray(triangles, dtype=np.float64).reshape(-1, 3)
    points = points - (points.max(0) + points.min(0)) / 2
    radius = float(np.linalg.norm(points, axis=1).max())
    if radius <= 0:
        raise DatasetError("all its vertices are one point")
    return np.asarray(points.reshape(-1, 3, 3) * (RADIUS / radius), dtype=np.float32)


def _material(part: trimesh.Trimesh) -> tuple[Material, Any]:
    """A part's material and its corners' texture coordinates, ``f 3 2``."""
    look = getattr(part.visual, "material", None)
    uv = getattr(part.visual, "uv", None)
    if look is None:
        return _vertex_colours(part)
    name = str(getattr(look, "name", "") or "")
    if isinstance(look, trimesh.visual.material.PBRMaterial):
        image, factor = look.baseColorTexture, look.baseColorFactor
        colour = np.ones(4) if factor is None else np.asarray(factor, dtype=np.float64) / 255
        colour = np.append(_linear_to_srgb(colour[:3]), colour[3])
        name = " ".join((name, _file_of(image)))
    else:
        image = getattr(look, "image", None)
        # Where a texture is given, many exporters leave a diffuse colour that was never meant to be multiplied.
        colour = np.ones(4) if image is not None else np.asarray(look.diffuse, dtype=np.float64) / 255
        colour[3] = _opacity(look)
        name = " ".join((name, _file_of(image)))
    if image is None or uv is None or len(uv) != len(part.vertices):
        return Material(name.strip(), _plain(_glassy(colour))), np.zeros((len(part.faces), 3, 2))
    pixels = np.asarray(image.convert("RGBA"), dtype=np.float64) / 255
    pixels[..., :3] *= colour[:3]
    return Material(name.strip(), _to_bytes(pixels)), np.asarray(uv)[part.faces]


def _vertex_colours(part: trimesh.Trimesh) -> tuple[Material, Any]:
    """Colours of faces or vertices as a texture with one texel a face: small, and exact for flat colours."""
    if part.visual.kind is None:
        return Material("", _plain(np.array([0.7, 0.7, 0.7, 1.0]))), np.zeros((len(part.faces), 3, 2))
    colours = np.asarray(part.visual.face_colors, dtype=np.uint8).reshape(-1, 4)
    distinct, which = np.unique(colours, axis=0, return_inverse=True)
    u = (which.reshape(-1).astype(np.float64) + 0.5) / len(distinct)
    uv = np.repeat(np.stack([u, np.full_like(u, 0.5)], axis=-1)[:, None], 3, axis=1)
    return Material("", distinct[None].copy()), uv


def _opacity(look: Any) -> float:
    value = look.kwargs.get("d", 1.0)
    try:
        return float(value[0] if isinstance(value, list) else value)
    except (TypeError, ValueError, IndexError):
        return 1.0


def _glassy(colour: Any) -> Any:
    """A see-through colour as an opaque, pale one: views of glass stay consistent, and glass still looks like glass."""
    rgb = colour[:3] * colour[3] + _GLASS * (1 - colour[3])
    return np.append(rgb, 1.0)


def _plain(colour: Any) -> Bytes:
    return _to_bytes(np.asarray(colour, dtype=np.float64).reshape(1, 1, 4))


def _to_bytes(values: Any) -> Bytes:
    return np.asarray((np.clip(values, 0, 1) * 255).round(), dtype=np.uint8)


def _linear_to_srgb(values: Any) -> Any:
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * np.clip(values, 1e-9, None) ** (1 / 2.4) - 0.055)


def _file_of(image: Image.Image | None) -> str:
    return "" if image is None else str(image.info.get("file_path", ""))


def _cross(triangles: Floats) -> Floats:
    edges = triangles[:, 1:] - triangles[:, :1]
    return np.asarray(np.cross(edges[:, 0], edges[:, 1]), dtype=np.float32)


def _unit(vectors: Any) -> Any:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-20)


def _smooth_normals(triangles: Floats) -> Floats:
    """Area-weighted normals of the corners that coincide; the flat normal where they differ from it by a crease."""
    crossed = _cross(triangles).astype(np.float64)
    flat = np.repeat(_unit(crossed)[:, None], 3, axis=1)
    _, corner = np.unique((triangles.reshape(-1, 3) * 20000).round().astype(np.int32), axis=0, return_inverse=True)
    corner = corner.reshape(-1)
    weighted = np.repeat(crossed, 3, axis=0)
    summed = np.stack([np.bincount(corner, weighted[:, axis]) for axis in range(3)], axis=-1)
    smooth = _unit(summed)[corner].reshape(-1, 3, 3)
    is_smooth = (smooth * flat).sum(-1, keepdims=True) > _CREASE
    return np.where(is_smooth, smooth, flat).astype(np.float32)
