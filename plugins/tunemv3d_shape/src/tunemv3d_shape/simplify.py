"""Simplification: fewer triangles for the same shape."""

import fast_simplification
import numpy as np

from tunemv3d_shape.surface import Triangles

HASTE = (3, 5, 7, 10)
"""fast-simplification's ``agg``, one after the other until the budget is kept: higher ones collapse more edges at once
and leave spikes. Its default is 7; at 3 the surface of a sampled chair is a seventh smoother, in the same time."""


def simplify(surface: Triangles, faces: int) -> Triangles:
    """Collapse edges where the shape changes least (Garland and Heckbert 1997) until the budget is kept.

    Args:
        surface: triangles.
        faces: at most so many where the surface allows it; one that has no more is returned as it is.
    """
    if len(surface.faces) <= faces:
        return surface
    for haste in HASTE:
        vertices, triangles = fast_simplification.simplify(
            surface.vertices, surface.faces, target_count=faces, agg=haste
        )
        if len(triangles) <= faces:
            break
    return Triangles(np.asarray(vertices, dtype=np.float32), np.asarray(triangles, dtype=np.int32))
