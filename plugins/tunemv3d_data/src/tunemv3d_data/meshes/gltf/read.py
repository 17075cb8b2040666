"""glTF 2.0 as parts: the one door to this folder."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.checks import check_faces
from tunemv3d_data.meshes.gltf.accessors import Accessors
from tunemv3d_data.meshes.gltf.document import MAX_ENTRIES, Document, Mesh, Primitive
from tunemv3d_data.meshes.gltf.geometry import Geometry, face_count
from tunemv3d_data.meshes.gltf.images import Images
from tunemv3d_data.meshes.gltf.materials import Materials, painted
from tunemv3d_data.meshes.gltf.scene import Placed, placed
from tunemv3d_data.meshes.neighbours import Neighbours
from tunemv3d_data.meshes.parts import Part
from tunemv3d_data.notes import note

_PRIMITIVE = ("KHR_draco_mesh_compression", "KHR_materials_variants")


def read_gltf(data: bytes, neighbours: Neighbours, max_faces: int) -> list[Part]:
    """Read the parts of what a .gltf or .glb file shows, y up, before anything moves.

    Skinned meshes stand as their joints do, morph targets count by their default weights, and of
    KHR_materials_variants the materials without a variant show.

    Args:
        data: the file.
        neighbours: the files beside it.
        max_faces: that it may show; they are counted before they are read.

    Raises:
        DatasetError: damaged, not valid where it is used, too large, or it needs what is not read; says which.
    """
    document = Document(data, neighbours, max_faces)
    accessors = Accessors(document)
    shown = list(placed(document, accessors))
    _check_size(document, accessors, shown)
    materials = Materials(document, Images(document, accessors.buffers))
    parts = [part for use in shown for part in _parts(document, accessors, materials, use)]
    unshown = {use.mesh for use in shown if any(part.mode < 4 for part in document.get(Mesh, use.mesh).primitives)}
    if not parts:
        held = "points and lines alone, which are not shown" if unshown else "no triangles"
        raise DatasetError(f"holds {held}, in the scene that a viewer opens")
    if unshown:
        note("no surface", f"points and lines of {len(unshown)} of its meshes are not shown")
    return parts


def _check_size(document: Document, accessors: Accessors, shown: Sequence[Placed]) -> None:
    copies: Counter[int] = Counter()
    for use in shown:
        copies[use.mesh] += 1 if use.is_skinned else len(use.matrices)
    faces = uses = 0
    for index, number in copies.items():
        primitives = document.get(Mesh, index).primitives
        uses += number * len(primitives)
        faces += number * sum(face_count(accessors, primitive) for primitive in primitives)
    check_faces(faces, document.max_faces)
    if uses > MAX_ENTRIES:
        raise DatasetError(f"shows {uses:,} parts, over the limit of {MAX_ENTRIES:,}; join them")


def _parts(document: Document, accessors: Accessors, materials: Materials, use: Placed) -> Iterator[Part]:
    mesh = document.get(Mesh, use.mesh)
    document.leave_out(mesh)
    weights = use.node.weights if use.node.weights is not None else mesh.weights
    for number, primitive in enumerate(mesh.primitives):
        document.leave_out(primitive, *_PRIMITIVE)
        if primitive.mode < 4:
            continue
        geometry = Geometry(document, accessors, primitive, f"meshes[{use.mesh}].primitives[{number}]")
        if len(geometry.triangles):
            yield _part(geometry, primitive, materials, use, weights)


def _part(geometry: Geometry, primitive: Primitive, materials: Materials, use: Placed, weights: list[float]) -> Part:
    corners, factors, uv = geometry.corners(use, weights), None, None
    colours = geometry.attribute("COLOR_0", weights)
    has_alpha = colours is not None and colours.shape[1] == 4 and bool((colours[:, 3] < 1).any())
    look = materials.look(primitive.material, has_alpha)
    if colours is None and primitive.material is None:
        note("untextured", "a part has neither a material nor colours; it is white")
    if colours is not None:
        if colours.shape[1] == 3:
            colours = np.concatenate([colours, np.ones((len(colours), 1))], axis=-1)
        look, factors = painted(look, np.clip(colours, 0, 1)[corners.order])
    mapping = look.mapping
    if mapping is not None:
        places = geometry.attribute(f"TEXCOORD_{mapping.set}", weights)
        if places is None:
            note("untextured", f"{geometry.where} lacks the texture coordinates TEXCOORD_{mapping.set}")
            look = materials.untextured(look)
        else:
            uv = np.nan_to_num(mapping(places))[corners.order]
    return Part(corners.positions, look.material, uv, corners.normals, factors)
