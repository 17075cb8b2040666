"""Files that other 3D programs open: GLB, OBJ with MTL and PNG, PLY. One world unit is one metre.

Our world is z up with the front at -y. glTF and OBJ are y up with the front at +z; PLY stays as we are.
"""

from io import BytesIO
from pathlib import Path

import trimesh
from PIL import Image
from trimesh.exchange.obj import export_obj
from trimesh.visual.material import SimpleMaterial

from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_core.io.glb import glb, to_y_up
from tunemv3d_core.io.samples import write_file
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_shape.bake import Colours
from tunemv3d_shape.surface import Triangles

FORMATS = ("glb", "obj", "ply")


def as_trimesh(surface: Triangles | TexturedMesh) -> trimesh.Trimesh:
    """Give the triangles to trimesh, as they are."""
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def write_mesh(folder: Path, name: str, mesh: TexturedMesh, formats: tuple[str, ...], by: GeneratedBy) -> list[str]:
    """Write a mesh in several formats; a file is there whole or not at all.

    Args:
        folder: made where it is not there.
        name: of the files, without a suffix.
        mesh: the mesh.
        formats: some of ``FORMATS``.
        by: what made it, as the files tell it: GLB and PNG in their metadata, OBJ and PLY in comments.

    Returns:
        Names of the files, those that open the mesh first.

    Raises:
        SampleError: they cannot be written.
    """
    contents: dict[str, bytes] = {}
    if "glb" in formats:
        contents[f"{name}.glb"] = glb(mesh, by)
    if "obj" in formats:
        contents |= obj(mesh, name, by)
    if "ply" in formats:
        contents[f"{name}.ply"] = ply(mesh, by, mesh.colours)
    for file, content in contents.items():
        write_file(folder / file, content)
    return list(contents)


def obj(mesh: TexturedMesh, name: str, by: GeneratedBy) -> dict[str, bytes]:
    """Encode ``name.obj``, ``name.mtl`` and ``name.png``."""
    material = SimpleMaterial(name=name, image=Image.fromarray(mesh.texture), diffuse=[255] * 4, specular=[0] * 4)
    text, beside = export_obj(
        _y_up(mesh, material, by.title),
        include_normals=True,
        return_texture=True,
        mtl_name=f"{name}.mtl",
        header="\n# ".join(by.comments),
    )
    texture = BytesIO()
    save_picture(Image.fromarray(mesh.texture), texture, by.xmp)
    files = {f"{name}.obj": text.encode("utf-8"), **{file: bytes(beside[file]) for file in sorted(beside)}}
    return {**files, f"{name}.png": texture.getvalue()}


def ply(surface: Triangles | TexturedMesh, by: GeneratedBy, colours: Colours | None = None) -> bytes:
    """Encode as binary PLY, z up, with vertex colours if there are any; comments say what made it, in ASCII."""
    mesh = as_trimesh(surface)
    if colours is not None:
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    first, _, rest = bytes(mesh.export(file_type="ply")).partition(b"\n")
    comments = [f"comment {line}".encode("ascii", "backslashreplace") for line in by.comments]
    return b"\n".join([first, *comments, rest])


def _y_up(mesh: TexturedMesh, material: SimpleMaterial, name: str) -> trimesh.Trimesh:
    return trimesh.Trimesh(
        to_y_up(mesh.vertices[mesh.uv_vertices]),
        mesh.uv_faces,
        vertex_normals=to_y_up(mesh.normals[mesh.uv_vertices]),
        visual=trimesh.visual.TextureVisuals(mesh.uv, material=material),
        metadata={"name": " ".join(name.split())},
        process=False,
    )
