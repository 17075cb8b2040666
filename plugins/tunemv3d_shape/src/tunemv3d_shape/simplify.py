"""Simplification: fewer triangles for the same shape."""

import fast_simplification
import numpy as np

from tunemv3d_shape.surface import Triangles


def simplify(surface: Triangles, faces: int) -> Triangles:
    """Collapse edges where the shape changes least (Garland and Heckbert 1997) until the budget is kept.

    Args:
        surface: triangles.
        faces: at most so many; a surface that has no more is returned as it is.
    """
    if len(surface.faces) <= faces:
        return surface
    vertices, triangles = fast_simplification.simplify(surface.vertices, surface.faces, target_count=faces)
    return Triangles(np.asarray(vertices, dtype=np.float32), np.asarray(triangles, dtype=np.int32))
