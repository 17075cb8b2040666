"""Files that other 3D programs open: GLB, OBJ with MTL and PNG, PLY. One world unit is one metre.

Our world is z up with the front at -y. glTF and OBJ are y up with the front at +z; PLY stays as we are.
"""

import json
from pathlib import Path
from typing import Any

import trimesh
from PIL import Image
from trimesh.exchange.obj import export_obj
from trimesh.visual.material import SimpleMaterial

from tunemv3d_core.io.glb import copyright_of, glb, name_of, to_y_up
from tunemv3d_core.io.samples import write_file
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_shape.bake import Colours
from tunemv3d_shape.surface import Triangles

FORMATS = ("glb", "obj", "ply")


def as_trimesh(surface: Triangles | TexturedMesh) -> trimesh.Trimesh:
    """Give the triangles to trimesh, as they are."""
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def write_mesh(
    folder: Path, name: str, mesh: TexturedMesh, formats: tuple[str, ...], about: dict[str, Any]
) -> list[str]:
    """Write a mesh in several formats; a file is there whole or not at all.

    Args:
        folder: made where it is not there.
        name: of the files, without a suffix.
        mesh: the mesh.
        formats: some of ``FORMATS``.
        about: of ``mesh_provenance``; goes into the GLB and into the headers of the others.

    Returns:
        Names of the files, those that open the mesh first.

    Raises:
        SampleError: they cannot be written.
    """
    contents: dict[str, bytes] = {}
    if "glb" in formats:
        contents[f"{name}.glb"] = glb(mesh, about)
    if "obj" in formats:
        contents |= obj(mesh, name, about)
    if "ply" in formats:
        contents[f"{name}.ply"] = ply(mesh, mesh.colours)
    for file, content in contents.items():
        write_file(folder / file, content)
    return list(contents)


def obj(mesh: TexturedMesh, name: str, about: dict[str, Any]) -> dict[str, bytes]:
    """Encode ``name.obj``, ``name.mtl`` and ``name.png``."""
    material = SimpleMaterial(name=name, image=Image.fromarray(mesh.texture), diffuse=[255] * 4, specular=[0] * 4)
    header = f"{copyright_of(about)}\n{json.dumps(about, ensure_ascii=False)}"
    text, beside = export_obj(
        _y_up(mesh, material, name_of(about)),
        include_normals=True,
        return_texture=True,
        mtl_name=f"{name}.mtl",
        header=header.replace("\n", "\n# "),
    )
    return {f"{name}.obj": text.encode("utf-8"), **{file: bytes(beside[file]) for file in sorted(beside)}}


def ply(surface: Triangles | TexturedMesh, colours: Colours | None = None) -> bytes:
    """Encode as binary PLY, z up, with vertex colours if there are any."""
    mesh = as_trimesh(surface)
    if colours is not None:
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    return bytes(mesh.export(file_type="ply"))


def _y_up(mesh: TexturedMesh, material: SimpleMaterial, name: str) -> trimesh.Trimesh:
    return trimesh.Trimesh(
        to_y_up(mesh.vertices[mesh.uv_vertices]),
        mesh.uv_faces,
        vertex_normals=to_y_up(mesh.normals[mesh.uv_vertices]),
        visual=trimesh.visual.TextureVisuals(mesh.uv, material=material),
        metadata={"name": " ".join(name.split())},
        process=False,
    )
