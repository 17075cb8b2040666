"""A glTF primitive's triangles: strips and fans, Draco, morph targets, joints, and where instances put them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.gltf.accessors import Accessors, Array, scaled
from tunemv3d_data.meshes.gltf.document import Accessor, Document, Draco, Primitive, checked
from tunemv3d_data.meshes.gltf.scene import Matrices, Placed
from tunemv3d_data.notes import note

_DRACO = "KHR_draco_mesh_compression"
_TYPES = {"POSITION": ("VEC3",), "NORMAL": ("VEC3",), "COLOR": ("VEC3", "VEC4")}


@dataclass(frozen=True)
class Corners:
    """Corners of triangles in the world.

    Attributes:
        positions: ``f 3 3``.
        normals: ``f 3 3``, of any length.
        order: ``f 3``, which vertices of the primitive these are.
    """

    positions: NDArray[np.float64]
    normals: NDArray[np.float32]
    order: NDArray[np.int64]


def face_count(accessors: Accessors, primitive: Primitive) -> int:
    """Return how many triangles a primitive has, without reading them; 0 for points and lines.

    Raises:
        DatasetError: more corners than a mesh at the limit of faces could have.
    """
    if primitive.mode < 4:
        return 0
    index = primitive.indices if primitive.indices is not None else primitive.attributes.get("POSITION")
    corners = 0 if index is None else accessors.count(index)
    return corners // 3 if primitive.mode == 4 else max(corners - 2, 0)


class Geometry:
    """A primitive's vertices, their attributes and triangles.

    Args:
        document: the file.
        accessors: its arrays.
        primitive: one of triangles, strips or fans.
        where: its place in the file, for errors.

    Raises:
        DatasetError: it has no positions, or is compressed by Draco and the library is not there.
    """

    def __init__(self, document: Document, accessors: Accessors, primitive: Primitive, where: str) -> None:
        self.document, self.accessors, self.primitive, self.where = document, accessors, primitive, where
        if "POSITION" not in primitive.attributes:
            raise DatasetError(f"is not valid glTF: {where} has no POSITION")
        self.count = accessors.count(primitive.attributes["POSITION"])
        self._draco: Any = self._decoded() if _DRACO in primitive.extensions else None

    def attribute(self, name: str, weights: list[float]) -> Array | None:
        """Read an attribute ``n c`` with its morph targets, weighed; None where the primitive has none of the name.

        Raises:
            DatasetError: it cannot be read, or has another count than the positions.
        """
        if name not in self.primitive.attributes:
            return None
        values = self._own(name)
        targets = [
            (target[name], weight)
            for target, weight in zip(self.primitive.targets, weights, strict=False)
            if weight != 0 and name in target
        ]
        for index, weight in targets:
            moved = self.accessors.numbers(index, self._types(name))
            if len(moved) != len(values):
                raise DatasetError(
                    f"is not valid glTF: a target of {self.where} has {len(moved)} of {self.count} values"
                )
            values = values + weight * moved[:, : values.shape[1]]
        return values

    @cached_property
    def triangles(self) -> NDArray[np.int64]:
        """Vertices of the triangles, ``f 3``.

        Raises:
            DatasetError: they name vertices that are not there.
        """
        order = self._order()
        if len(order) and (order.min() < 0 or order.max() >= self.count):
            raise DatasetError(f"is not valid glTF: {self.where} uses vertex {order.max()} of {self.count}")
        if self.primitive.mode == 4 or self._draco is not None:
            if len(order) % 3:
                note(
                    "changed shape", f"{self.where}: the last {len(order) % 3} of {len(order)} corners make no triangle"
                )
            return order[: len(order) // 3 * 3].reshape(-1, 3)
        first = np.arange(max(len(order) - 2, 0))
        if self.primitive.mode == 6:
            return np.stack([order[first + 1], order[first + 2], np.broadcast_to(order[:1], len(first))], axis=-1)
        odd = first % 2
        return np.stack([order[first], order[first + 1 + odd], order[first + 2 - odd]], axis=-1)

    def corners(self, placed: Placed, weights: list[float]) -> Corners:
        """Put the triangles where a use of the mesh has them, instance by instance."""
        positions = self.attribute("POSITION", weights)
        normals = self.attribute("NORMAL", weights)
        assert positions is not None
        order = self.triangles
        matrices = self._blended(placed.matrices)[None] if placed.is_skinned else placed.matrices
        made = [_placed(positions, normals, order, matrix) for matrix in matrices]
        return Corners(*(np.concatenate(parts) for parts in zip(*made, strict=True)))

    def _blended(self, joints: Matrices) -> Matrices:
        """The joints' matrices, mixed for every vertex, ``n 4 4``."""
        total, mixed = np.zeros(self.count), np.zeros((self.count, 4, 4))
        for number in range(len(self.primitive.attributes)):
            index, weight = self._own_or_none(f"JOINTS_{number}"), self._own_or_none(f"WEIGHTS_{number}")
            if index is None or weight is None:
                break
            which = index.astype(np.int64)
            for joint, share in zip(which.T, np.maximum(weight, 0).T, strict=True):
                used = share > 0
                if used.any() and joint[used].max() >= len(joints):
                    raise DatasetError(
                        f"is not valid glTF: {self.where} uses joint {joint[used].max()} of {len(joints)}"
                    )
                mixed[used] += share[used, None, None] * joints[joint[used]]
                total += share
        free = total <= 0
        mixed[free], total[free] = np.eye(4), 1
        return np.asarray(mixed / total[:, None, None])

    def _order(self) -> NDArray[np.int64]:
        if self._draco is not None:
            return np.asarray(self._draco.faces, dtype=np.int64).reshape(-1)
        if self.primitive.indices is None:
            return np.arange(self.count)
        return self.accessors.indices(self.primitive.indices)

    def _own_or_none(self, name: str) -> Array | None:
        return self._own(name) if name in self.primitive.attributes else None

    def _own(self, name: str) -> Array:
        index = self.primitive.attributes[name]
        if self._draco is not None and name in self._packed.attributes:
            found = self._draco.get_attribute_by_unique_id(self._packed.attributes[name])
            values = scaled(np.asarray(found["data"]), self.document.get(Accessor, index).normalized)
        else:
            values = self.accessors.numbers(index, self._types(name))
        if len(values) != self.count:
            raise DatasetError(f"is not valid glTF: {self.where} has {len(values)} {name} for {self.count} positions")
        return values

    def _types(self, name: str) -> tuple[str, ...]:
        kind = name.split("_")[0]
        return ("VEC2",) if kind == "TEXCOORD" else _TYPES.get(kind, ("VEC4",))

    @cached_property
    def _packed(self) -> Draco:
        return checked(Draco, self.primitive.extensions[_DRACO], f"{self.where}.{_DRACO}")

    def _decoded(self) -> Any:
        """Draco's mesh; None where the file has the plain data too and the library is not there."""
        try:
            import DracoPy
        except ImportError:
            if self.document.get(Accessor, self.primitive.attributes["POSITION"]).buffer_view is not None:
                return None
            raise DatasetError(
                "is compressed by Draco: pip install 'tunemv3d-data[draco]', or export it without compression"
            ) from None
        try:
            mesh = DracoPy.decode(bytes(self.accessors.buffers.view(self._packed.buffer_view)))
            self.count = len(mesh.points)
            assert len(mesh.faces)
        except (AssertionError, AttributeError, RuntimeError, ValueError, TypeError, DracoPy.FileTypeException):
            raise DatasetError(f"is damaged: {self.where} cannot be decoded by Draco") from None
        return mesh


def _placed(positions: Array, normals: Array | None, order: NDArray[np.int64], matrix: Matrices) -> Any:
    """Corners, normals and order under a matrix ``4 4``, or one for every vertex, ``n 4 4``."""
    linear, moved = matrix[..., :3, :3], matrix[..., :3, 3]
    points = np.einsum("...ij,...j->...i", linear, positions) + moved
    if linear.ndim == 2 and np.linalg.det(linear) < 0:  # a mirror turns faces inside out (3.7.4)
        order = order[:, ::-1]
    corners = points[order]
    if normals is None:  # flat (3.7.2.1)
        edges = corners[:, 1:] - corners[:, :1]
        turned = np.repeat(np.cross(edges[:, 0], edges[:, 1])[:, None], 3, axis=1)
    else:
        turned = np.einsum("...ij,...j->...i", _cofactors(linear), normals)[order]
    length = np.linalg.norm(turned, axis=-1, keepdims=True)
    return corners, (turned / np.where(length > 0, length, 1)).astype(np.float32), order


def _cofactors(matrices: Matrices) -> Matrices:
    """What normals are turned by, ``... 3 3``: the inverse transposed, times the determinant."""
    a, b, c = (matrices[..., :, i] for i in range(3))
    return np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=-1)
