"""Convert a 3D file to GLB: ``convert.py IN OUT``, with the importer that Blender has for the file's suffix."""

import sys
from pathlib import Path
from typing import Any

import bpy

IMPORTERS = {
    ".abc": ("wm.alembic_import",),
    ".dae": ("wm.collada_import",),
    ".fbx": ("wm.fbx_import", "import_scene.fbx"),
    ".glb": ("import_scene.gltf",),
    ".gltf": ("import_scene.gltf",),
    ".obj": ("wm.obj_import",),
    ".ply": ("wm.ply_import",),
    ".stl": ("wm.stl_import",),
    ".usd": ("wm.usd_import",),
    ".usda": ("wm.usd_import",),
    ".usdc": ("wm.usd_import",),
    ".usdz": ("wm.usd_import",),
    ".3ds": ("import_scene.max3ds",),
    ".x3d": ("import_scene.x3d",),
    ".wrl": ("import_scene.x3d",),
}


def main(source: Path, target: Path) -> None:
    """Open or import the file and export all its meshes."""
    if source.suffix.lower() == ".blend":
        bpy.ops.wm.open_mainfile(filepath=str(source), load_ui=False, use_scripts=False)
    else:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        _importer(source.suffix.lower())(filepath=str(source))
    if not any(item.type == "MESH" for item in bpy.context.scene.objects):
        sys.exit(f"{source.name} holds no mesh")
    bpy.ops.export_scene.gltf(filepath=str(target), export_format="GLB", export_apply=True, export_animations=False)


def _importer(suffix: str) -> Any:
    for name in IMPORTERS.get(suffix, ()):
        group, operator = name.split(".")
        found = getattr(getattr(bpy.ops, group), operator)
        try:
            found.get_rna_type()
        except KeyError:
            continue
        return found
    sys.exit(f"Blender {bpy.app.version_string} has no importer for {suffix}")


main(Path(sys.argv[-2]), Path(sys.argv[-1]))
