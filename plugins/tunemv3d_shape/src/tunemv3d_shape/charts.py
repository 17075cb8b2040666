"""Charts of a surface by xatlas, as a process: ``python -m tunemv3d_shape.charts`` reads and writes NumPy archives."""

import io
import sys

import numpy as np
import xatlas

PADDING = 3
"""Texels between charts, so that a viewer's blending of neighbouring texels does not reach over."""


def main() -> None:
    """Read ``vertices``, ``faces`` and ``texture`` from standard input; write ``original``, ``faces`` and ``uv``."""
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    atlas = xatlas.Atlas()
    atlas.add_mesh(given["vertices"], given["faces"])
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear = int(given["texture"]), PADDING, True
    atlas.generate(pack_options=packing)
    original, faces, uv = atlas[0]
    made = io.BytesIO()
    np.savez(made, original=original.astype(np.int32), faces=faces.astype(np.int32), uv=uv.astype(np.float32))
    sys.stdout.buffer.write(made.getvalue())


if __name__ == "__main__":
    main()
