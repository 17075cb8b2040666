"""Rays against a surface, on Embree."""

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.slots import Pictures, TexturedMesh
from tunemv3d_shape.surface import Floats, Ints, Triangles


class Tracer:
    """Finds what rays meet first.

    Args:
        vertices: ``v 3``.
        faces: ``f 3``.
    """

    def __init__(self, vertices: Floats, faces: Ints) -> None:
        self._scene = EmbreeScene()
        self._geometry = TriangleMesh(self._scene, np.ascontiguousarray(vertices[faces], dtype=np.float32))

    def distances(self, origins: Floats, directions: Floats) -> Floats:
        """Distance that each ray ``r`` travels, in lengths of its direction; infinite where it meets nothing."""
        hits = self._scene.run(origins, directions, output=True)
        return np.where(hits["primID"] >= 0, hits["tfar"], np.inf).astype(np.float32)

    def places(self, origins: Floats, directions: Floats) -> tuple[Ints, Floats]:
        """The face that each ray meets, -1 for none, and there the weights ``r 3`` of the face's corners."""
        hits = self._scene.run(origins, directions, output=True)
        u, v = hits["u"], hits["v"]
        return np.asarray(hits["primID"]), np.stack([1 - u - v, u, v], axis=-1)

    def depth(self, camera: Cameras, size: tuple[int, int]) -> Floats:
        """A depth map ``h w``: z in one camera (no batch axes), infinite where nothing is."""
        rays = camera.rays(size)
        return self.distances(*(z.float().cpu().numpy() for z in (rays.origins, rays.directions))).reshape(size)


def silhouette_iou(surface: Triangles | TexturedMesh, pictures: Pictures) -> float:
    """Intersection over union of a surface's silhouettes with the pictures' masks, all views taken together."""
    tracer, masks = Tracer(surface.vertices, surface.faces), (pictures.alpha > 0.5).cpu().numpy()
    seen = np.stack([np.isfinite(tracer.depth(pictures.cameras[i], pictures.size)) for i in range(len(masks))])
    return float((seen & masks).sum() / max(1, (seen | masks).sum()))
