"""Reads the parts of a GLB file (binary glTF 2.0) as ``tunemv3d mesh`` makes it."""

import struct
from typing import Any

from tunemv3d_core.io.json_files import parse

MALFORMED = (KeyError, IndexError, TypeError, AttributeError, OverflowError, struct.error)
"""What a tree raises, beside ``ValueError``, whose parts are not of the kinds that glTF names."""


def opened(glb: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return a GLB's tree and the content of each of its buffer's views.

    Raises:
        ValueError: no GLB, or not one as ``tunemv3d mesh`` makes it.
    """
    try:
        length = struct.unpack_from("<I", glb, 12)[0]
        tree, binary = parse(glb[20 : 20 + length]), glb[28 + length :]
        chunks = [_chunk(view, binary) for view in tree["bufferViews"]]
        if len({accessor["bufferView"] for accessor in tree["accessors"]}) < len(tree["accessors"]):
            raise ValueError("no GLB as `tunemv3d mesh` makes it: its numbers lie among one another")
    except MALFORMED as error:
        raise ValueError(f"no GLB as `tunemv3d mesh` makes it: {error!r}") from error
    return tree, chunks


def _chunk(view: dict[str, Any], binary: bytes) -> bytes:
    begin = view.get("byteOffset", 0)
    return binary[begin : begin + view["byteLength"]]
