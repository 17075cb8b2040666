"""The interface of meshers, from a shape and its views to a textured mesh."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots.model import HasSurface


@dataclass(frozen=True)
class Pictures:
    """Pictures of one object, cut out.

    Attributes:
        colours: ``n 3 H W`` in [0, 1], sRGB, without a background behind them (straight alpha).
        alpha: ``n H W`` in [0, 1].
        cameras: ``n``.
    """

    colours: Tensor
    alpha: Tensor
    cameras: Cameras

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.alpha.shape[-2], self.alpha.shape[-1]

    def on_white(self) -> Tensor:
        """``n 3 H W`` in [0, 1]."""
        return self.colours * self.alpha[:, None] + 1 - self.alpha[:, None]


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles with a texture. As in an OBJ file, a vertex on a seam has several texture coordinates.

    Attributes:
        vertices: ``v 3`` float32, world units, z up.
        faces: ``f 3`` int32, indices of vertices, counter-clockwise as seen from outside.
        normals: ``v 3`` float32, outward, unit.
        colours: ``v 3`` uint8, sRGB, for formats without a texture.
        uv: ``u 2`` float32 in [0, 1], u to the right and v upwards.
        uv_vertices: ``u`` int32, the vertex that each texture coordinate belongs to.
        uv_faces: ``f 3`` int32, the same triangles as indices of texture coordinates.
        texture: ``s s 3`` uint8, sRGB, row 0 at the top.
        figures: what was measured of the mesh, by name, for manifests; None where it could not be measured.
        notes: sentences on what is not as it was asked for, shown and kept in manifests.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8]
    uv: NDArray[np.float32]
    uv_vertices: NDArray[np.int32]
    uv_faces: NDArray[np.int32]
    texture: NDArray[np.uint8]
    figures: dict[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def watertight(self) -> bool:
        """Tell whether every edge belongs to exactly two faces, so that nobody sees the inside."""
        edges = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())


@runtime_checkable
class Shape(HasSurface, Protocol):
    """One object's surface, a batch of one, and what it looks like: what can be meshed."""

    def pictures(self, cameras: Cameras) -> Pictures | None:
        """Render cameras ``m``, whose pictures come on the CPU; None where the shape has no colours of its own."""
        ...


class Mesher(Protocol):
    """Makes a textured mesh of one object; built as ``build(spec)``."""

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        """Mesh a shape.

        Args:
            shape: of one object, such as a field's scene; points that it is asked about lie on ``device``.
            views: finished views of the object, on the CPU.
            device: where to compute.

        Raises:
            SampleError: the shape has no surface, such as a signed distance that is positive everywhere.
        """
        ...
