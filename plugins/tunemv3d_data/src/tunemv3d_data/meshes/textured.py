"""Meshes of the slot ``mesher`` as the renderers need them."""

import numpy as np

from tunemv3d_core.slots import TexturedMesh
from tunemv3d_data.meshes.materials import Material
from tunemv3d_data.meshes.mesh import Mesh


def as_mesh(mesh: object, renderer: str) -> Mesh:
    """Return a mesh for rendering: as it is, or a ``TexturedMesh`` as a soup of triangles with one material.

    Args:
        mesh: either.
        renderer: whose it is, for the message.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(mesh, Mesh):
        return mesh
    if not isinstance(mesh, TexturedMesh):
        raise TypeError(
            f"the {renderer} renderer takes a tunemv3d_data.meshes.mesh.Mesh or a TexturedMesh, "
            f"not {type(mesh).__name__}"
        )
    opaque = np.full((*mesh.texture.shape[:2], 1), 255, dtype=np.uint8)
    return Mesh(
        triangles=mesh.vertices[mesh.faces],
        normals=mesh.normals[mesh.faces],
        uv=mesh.uv[mesh.uv_faces],
        material=np.zeros(len(mesh.faces), dtype=np.int32),
        materials=(Material("texture", np.concatenate([mesh.texture, opaque], axis=-1)),),
    )
