"""Accessors as arrays: strided, normalised and sparse ones, those of integers and those of Draco's meshes."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.gltf.buffers import Buffers
from tunemv3d_data.meshes.gltf.document import Accessor, Document

Array = NDArray[Any]

_DTYPES: dict[int, np.dtype[Any]] = {
    5120: np.dtype("<i1"),
    5121: np.dtype("<u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


class Accessors:
    """Reads a document's accessors, each once."""

    def __init__(self, document: Document) -> None:
        self.document, self.buffers = document, Buffers(document)
        self._raw: Callable[[int], Array] = lru_cache(maxsize=None)(self._stored)

    def numbers(self, index: int, types: tuple[str, ...]) -> Array:
        """Read numbers ``n c`` as float64, normalised ones divided by what stands for 1.

        Args:
            index: the accessor's.
            types: that it may have, such as VEC3.

        Raises:
            DatasetError: another type, or its bytes are not there.
        """
        return scaled(self._checked(index, types), self.document.get(Accessor, index).normalized)

    def indices(self, index: int) -> NDArray[np.int64]:
        """Read unsigned integers ``n``.

        Raises:
            DatasetError: they are no such thing, or their bytes are not there.
        """
        values = self._checked(index, ("SCALAR",))
        if values.dtype.kind != "u":
            raise DatasetError(f"is not valid glTF: accessors[{index}] holds indices that are no unsigned integers")
        return values[:, 0].astype(np.int64)

    def count(self, index: int) -> int:
        """Return how many elements an accessor has, without reading them.

        Raises:
            DatasetError: more than a mesh at the limit of faces could use.
        """
        count = self.document.get(Accessor, index).count
        if count > 3 * max(self.document.max_faces, 1_000_000):
            raise DatasetError(f"is too large: accessors[{index}] has {count:,} elements")
        return count

    def _checked(self, index: int, types: tuple[str, ...]) -> Array:
        kind = self.document.get(Accessor, index).type
        if kind not in types:
            raise DatasetError(f"is not valid glTF: accessors[{index}] is {kind}, not {' or '.join(types)}")
        return self._raw(index)

    def _stored(self, index: int) -> Array:
        """Elements ``n c`` as they are stored."""
        accessor, count = self.document.get(Accessor, index), self.count(index)
        dtype, width = _DTYPES[accessor.component_type], _WIDTHS[accessor.type]
        what = f"accessors[{index}]"
        if accessor.buffer_view is None:
            values = np.zeros((count, width), dtype=dtype)
        else:
            values = self._elements(accessor.buffer_view, accessor.byte_offset, count, width, dtype, what)
        if accessor.sparse is None:
            return values
        sparse, places = accessor.sparse, accessor.sparse.indices
        if sparse.count > count:
            raise DatasetError(f"is not valid glTF: {what} replaces {sparse.count} of {count} elements")
        kind = _DTYPES[places.component_type]
        rows = self._elements(places.buffer_view, places.byte_offset, sparse.count, 1, kind, what)[:, 0]
        if rows.max() >= count:
            raise DatasetError(f"is not valid glTF: {what} replaces element {rows.max()} of {count}")
        values = values.copy()
        values[rows] = self._elements(
            sparse.values.buffer_view, sparse.values.byte_offset, sparse.count, width, dtype, what
        )
        return values

    def _elements(self, view: int, start: int, count: int, width: int, dtype: np.dtype[Any], what: str) -> Array:
        data, size = self.buffers.view(view), width * dtype.itemsize
        stride = self.buffers.stride(view) or size
        if stride < size:
            raise DatasetError(f"is not valid glTF: {what} has elements of {size} bytes, {stride} apart")
        end = start + stride * (count - 1) + size
        if end > len(data):
            raise DatasetError(f"is not valid glTF: {what} ends at byte {end:,} of a view of {len(data):,}")
        return np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))


def scaled(values: Array, normalised: bool) -> Array:
    """Return numbers as float64; integers that are normalised as 0 to 1 or -1 to 1."""
    numbers = values.astype(np.float64)
    if not normalised or values.dtype.kind == "f":
        return numbers
    return np.maximum(numbers / np.iinfo(values.dtype).max, -1.0)
