"""A mesh's surface as renderers need it: normals on their face's side, textures prefiltered for the pictures' size."""

import numpy as np
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_data.meshes.materials import Material, Wrap
from tunemv3d_data.meshes.mesh import Bytes, Floats, Mesh


def face_normals(mesh: Mesh) -> Floats:
    """Compute the side from which a face's corners run counter-clockwise, ``f 3``, not normalised."""
    edges = mesh.triangles[:, 1:] - mesh.triangles[:, :1]
    return np.asarray(np.cross(edges[:, 0], edges[:, 1]), dtype=np.float32)


def corner_normals(mesh: Mesh) -> Floats:
    """Return the corners' normals ``f 3 3``, turned to the side of ``face_normals``.

    Which side of a surface one looks at is its face's matter: near a rim, smooth normals already point away.
    """
    away = (mesh.normals * face_normals(mesh)[:, None]).sum(-1, keepdims=True) < 0
    return np.asarray(np.where(away, -mesh.normals, mesh.normals), dtype=np.float32)


def prefiltered(mesh: Mesh, cameras: Cameras, width: int) -> list[Bytes]:
    """Shrink materials' textures ``h w 4`` until texels are about as large as pixels, against aliasing.

    Args:
        mesh: the mesh.
        cameras: ``(n,)``.
        width: pictures' width, pixels.
    """
    footprint = float(cameras.origins.norm(dim=-1).mean() / cameras.intrinsics[..., 0].mean()) / width
    return [_prefiltered(mesh, index, footprint) for index in range(len(mesh.materials))]


def _prefiltered(mesh: Mesh, index: int, footprint: float) -> Bytes:
    texture = mesh.materials[index].texture
    h, w = texture.shape[:2]
    faces = mesh.material == index
    uv = mesh.uv[faces].astype(np.float64)
    edges = uv[:, 1:] - uv[:, :1]
    uv_area = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]).sum() / 2
    area = float(mesh.areas()[faces].sum())
    if h * w == 1 or uv_area <= 0 or area <= 0:
        return texture
    texel = np.sqrt(area / (uv_area * h * w))
    factor = int(np.clip(np.floor(footprint / texel), 1, max(h, w)))
    if factor == 1:
        return texture
    reduced = Image.fromarray(texture).reduce((min(factor, w), min(factor, h)))
    return np.asarray(reduced)


WRAPS: tuple[Wrap, ...] = ("repeat", "clamp", "mirror")
"""Their numbers in ``Texels.wraps``."""


class Texels:
    """All textures in one array, row by row, so that shading is a single gather.

    Attributes:
        sizes: ``m 2``, (h, w) of every material's texture.
        offsets: ``m``, where each texture begins.
        values: ``t 4`` uint8.
        wraps: ``m 2``, how each texture goes on along v and along u, as indices into ``WRAPS``.
        is_smooth, is_double_sided: ``m``, as ``Material`` says.
    """

    def __init__(self, materials: tuple[Material, ...], textures: list[Bytes]) -> None:
        self.wraps = np.array([[WRAPS.index(wrap) for wrap in material.wrap[::-1]] for material in materials])
        self.is_smooth = np.array([material.smooth for material in materials])
        self.is_double_sided = np.array([material.double_sided for material in materials])
        self.sizes = np.array([texture.shape[:2] for texture in textures], dtype=np.int64)
        self.offsets = np.cumsum([0, *(h * w for h, w in self.sizes[:-1])])
        self.values = np.concatenate([texture.reshape(-1, 4) for texture in textures])
