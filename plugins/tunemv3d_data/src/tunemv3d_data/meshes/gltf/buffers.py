"""The bytes behind a glTF file's buffers and buffer views, compressed ones decoded by meshoptimizer."""

import base64
from functools import lru_cache
from typing import Literal
from urllib.parse import unquote_to_bytes

import numpy as np
from pydantic import Field

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.gltf.document import Buffer, BufferView, Document, Entry, Index, checked

_MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class Meshopt(Entry):  # noqa: D101
    buffer: Index
    byte_offset: Index = 0
    byte_length: Index
    byte_stride: int = Field(ge=2, le=256)
    count: int = Field(ge=1)
    mode: Literal["ATTRIBUTES", "TRIANGLES", "INDICES"]
    filter: Literal["NONE", "OCTAHEDRAL", "QUATERNION", "EXPONENTIAL", "COLOR"] = "NONE"


class Buffers:
    """Reads a document's buffers, each once."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._whole = lru_cache(maxsize=None)(self._load)
        self._unpacked = lru_cache(maxsize=None)(self._decode)

    def view(self, index: int) -> memoryview:
        """Return a buffer view's bytes.

        Raises:
            DatasetError: they are missing, cut off or cannot be decoded.
        """
        if self._packed(index) is not None:
            return memoryview(self._unpacked(index))
        view = self.document.get(BufferView, index)
        return self._slice(view.buffer, view.byte_offset, view.byte_length, f"bufferViews[{index}]")

    def stride(self, index: int) -> int | None:
        """Return how far a view's elements lie apart, bytes; None where they touch."""
        packed = self._packed(index)
        return self.document.get(BufferView, index).byte_stride if packed is None else packed.byte_stride

    def _slice(self, buffer: int, start: int, length: int, what: str) -> memoryview:
        whole = self._whole(buffer)
        if start + length > len(whole):
            raise DatasetError(f"is cut off: {what} ends at byte {start + length:,} of {len(whole):,}")
        return memoryview(whole)[start : start + length]

    def _load(self, index: int) -> bytes:
        buffer = self.document.get(Buffer, index)
        if buffer.uri is None:
            if index == 0 and self.document.binary:
                return self.document.binary
            raise DatasetError(f"is not valid glTF: buffers[{index}] has neither a uri nor a binary part")
        if buffer.uri.startswith("data:"):
            return inside(buffer.uri, f"buffers[{index}]")
        data = self.document.neighbours.read(buffer.uri)
        if data is None:
            raise DatasetError(f"needs {buffer.uri[:200]}, which is missing or lies outside the source")
        return data

    def _packed(self, index: int) -> Meshopt | None:
        """How a view is compressed; None where it is not, or where its plain bytes are in the file as well."""
        view = self.document.get(BufferView, index)
        name = next((name for name in _MESHOPT if name in view.extensions), None)
        if name is None or self.document.get(Buffer, view.buffer).uri is not None:
            return None
        return checked(Meshopt, view.extensions[name], f"bufferViews[{index}].{name}")

    def _decode(self, index: int) -> bytes:
        packed, what = self._packed(index), f"bufferViews[{index}]"
        assert packed is not None
        if packed.count > 3 * max(self.document.max_faces, 1_000_000):
            raise DatasetError(f"is too large: {what} has {packed.count:,} elements")
        data = self._slice(packed.buffer, packed.byte_offset, packed.byte_length, what)
        return unpacked(packed, data, what)


def inside(uri: str, what: str) -> bytes:
    """Decode a data uri.

    Raises:
        DatasetError: it cannot be decoded; names ``what`` it belongs to.
    """
    head, comma, body = uri.partition(",")
    try:
        if not comma:
            raise ValueError
        return base64.b64decode(body) if head.endswith(";base64") else unquote_to_bytes(body)
    except ValueError:
        raise DatasetError(f"is not valid glTF: {what} has a data uri that cannot be decoded") from None


def unpacked(packed: Meshopt, data: memoryview, what: str) -> bytes:
    """Decode a view that was compressed by meshoptimizer.

    Raises:
        DatasetError: the library is not there, or the data are damaged.
    """
    try:
        import meshoptimizer
    except ImportError:
        raise DatasetError(
            "is compressed by meshopt: pip install 'tunemv3d-data[meshopt]', or export it without compression"
        ) from None
    count, stride = packed.count, packed.byte_stride
    allowed = {"ATTRIBUTES": range(4, 257, 4), "TRIANGLES": (2, 4), "INDICES": (2, 4)}[packed.mode]
    allowed = {"OCTAHEDRAL": (4, 8), "QUATERNION": (8,)}.get(packed.filter, allowed)
    if stride not in allowed or (packed.mode == "TRIANGLES" and count % 3):
        raise DatasetError(f"is not valid glTF: {what} is compressed as {count:,} elements of {stride} bytes")
    if packed.filter == "COLOR":
        raise DatasetError("is compressed by meshopt's filter COLOR, which is not read; export it without")
    source = np.frombuffer(data, dtype=np.uint8)
    try:
        if packed.mode == "ATTRIBUTES":
            found = meshoptimizer.decode_vertex_buffer(count, stride, source, dtype=np.dtype((np.void, stride)))
            filters = {
                "OCTAHEDRAL": meshoptimizer.decode_filter_oct,
                "QUATERNION": meshoptimizer.decode_filter_quat,
                "EXPONENTIAL": meshoptimizer.decode_filter_exp,
            }
            undo = filters.get(packed.filter)
            return bytes((found if undo is None else undo(found, count, stride)).tobytes())
        decode = (
            meshoptimizer.decode_index_buffer if packed.mode == "TRIANGLES" else meshoptimizer.decode_index_sequence
        )
        return bytes(decode(count, 4, source).astype(np.uint16 if stride == 2 else np.uint32).tobytes())
    except (RuntimeError, ValueError) as error:
        raise DatasetError(f"is damaged: {what} cannot be decoded by meshoptimizer") from error
