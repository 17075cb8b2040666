"""Files that other 3D programs open: GLB, OBJ with MTL and PNG, PLY. One world unit is one metre.

Our world is z up with the front at -y. glTF and OBJ are y up with the front at +z; PLY stays as we are.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.visual.material import PBRMaterial, SimpleMaterial

from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.samples import MANIFEST
from tunemv3d_shape.bake import Colours, vertex_normals
from tunemv3d_shape.surface import Floats, Surface
from tunemv3d_shape.unwrap import Unwrapped

FORMATS = ("glb", "obj", "ply")
ROUGHNESS = 0.9

VERTICES, INDICES = 34962, 34963
"""glTF's names for what a buffer's part holds, by which a viewer knows where to keep it."""


@dataclass(frozen=True)
class TexturedMesh:
    """A surface with its colours.

    Attributes:
        surface: the triangles.
        unwrapped: the same with texture coordinates.
        texture: ``s s 3``, sRGB, row 0 at the top.
        vertex_colours: ``v 3``, sRGB, of the surface's vertices.
    """

    surface: Surface
    unwrapped: Unwrapped
    texture: Colours
    vertex_colours: Colours

    @property
    def watertight(self) -> bool:
        """Whether the surface is closed, so that nobody sees its inside."""
        return bool(as_trimesh(self.surface).is_watertight)


def as_trimesh(surface: Surface) -> trimesh.Trimesh:
    """The triangles as trimesh has them."""
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def provenance(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a mesh should carry of its sample's manifest."""
    kept = ("prompt", "seed", "checkpoint", "spec_id", "data", "refined")
    return {"generator": "TuneMV3D", **{key: manifest[key] for key in kept if manifest.get(key) is not None}}


def write_mesh(
    folder: Path, name: str, mesh: TexturedMesh, formats: tuple[str, ...], about: dict[str, Any]
) -> list[str]:
    """Write a mesh in several formats; a file is there whole or not at all.

    Args:
        folder: made where it is not there.
        name: of the files, without a suffix.
        mesh: the mesh.
        formats: some of ``FORMATS``.
        about: of ``provenance``; goes into the GLB and into the headers of the others.

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
        contents[f"{name}.ply"] = ply(mesh.surface, mesh.vertex_colours)
    for file, content in contents.items():
        write_whole(folder / file, content)
    return list(contents)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; its folder is made.

    Raises:
        SampleError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise SampleError(
            f"{path}: could not be written: {error.strerror}. Make room there, or choose another folder with --out"
        ) from error


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write ``manifest.json``.

    Raises:
        SampleError: it cannot be written; what was there stays.
    """
    content = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    write_whole(folder / MANIFEST, content.encode("utf-8"))


def glb(mesh: TexturedMesh, about: dict[str, Any]) -> bytes:
    """Binary glTF: one mesh, one material, its texture as PNG inside."""
    material = PBRMaterial(
        name="baked",
        baseColorTexture=Image.fromarray(mesh.texture),
        metallicFactor=0.0,
        roughnessFactor=ROUGHNESS,
        doubleSided=not mesh.watertight,
    )

    def sign(tree: dict[str, Any]) -> None:
        tree["asset"] |= {"generator": "TuneMV3D", "copyright": copyright_of(about), "extras": about}
        for primitive in (primitive for one in tree["meshes"] for primitive in one["primitives"]):
            uses = {primitive["indices"]: INDICES} | dict.fromkeys(primitive["attributes"].values(), VERTICES)
            for accessor, target in uses.items():
                tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target

    scene = trimesh.Scene({"object": _y_up(mesh, material)})
    return bytes(export_glb(scene, include_normals=True, tree_postprocessor=sign))


def obj(mesh: TexturedMesh, name: str, about: dict[str, Any]) -> dict[str, bytes]:
    """``name.obj``, ``name.mtl`` and ``name.png``."""
    material = SimpleMaterial(name=name, image=Image.fromarray(mesh.texture), diffuse=[255] * 4, specular=[0] * 4)
    header = f"{copyright_of(about)}\n{json.dumps(about, ensure_ascii=False)}"
    text, beside = export_obj(
        _y_up(mesh, material),
        include_normals=True,
        return_texture=True,
        mtl_name=f"{name}.mtl",
        header=header.replace("\n", "\n# "),
    )
    return {f"{name}.obj": text.encode("utf-8"), **{file: bytes(beside[file]) for file in sorted(beside)}}


def ply(surface: Surface, colours: Colours | None = None) -> bytes:
    """Binary PLY, z up, with vertex colours if there are any."""
    mesh = as_trimesh(surface)
    if colours is not None:
        mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=colours)
    return bytes(mesh.export(file_type="ply"))


def copyright_of(about: dict[str, Any]) -> str:
    """One line that says what made a mesh and what that learned from."""
    data = about.get("data")
    licences = data.get("licences") if isinstance(data, dict) else None
    learned = f", which learned from objects under {', '.join(sorted(licences))}" if licences else ""
    return f"Generated by TuneMV3D with the checkpoint '{about.get('checkpoint', '?')}'{learned}"


def _y_up(mesh: TexturedMesh, material: Any) -> trimesh.Trimesh:
    unwrapped = mesh.unwrapped
    return trimesh.Trimesh(
        to_y_up(unwrapped.vertices),
        unwrapped.faces,
        vertex_normals=to_y_up(vertex_normals(mesh.surface)[unwrapped.original]),
        visual=trimesh.visual.TextureVisuals(unwrapped.uv, material=material),
        process=False,
    )


def to_y_up(vectors: Floats) -> Floats:
    """``v 3`` from z up, front at -y, to y up, front at +z."""
    x, y, z = vectors.T
    return np.stack([x, z, -y], axis=-1)
