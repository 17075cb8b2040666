"""Render glTF files by Blender's own importer, base colour and emission without any shading: ``JOBS.json``.

Runs inside Blender, for ``gltf.py``, which writes the job and says what its fields are.
"""

import json
import sys
from pathlib import Path
from typing import Any

import bpy
import mathutils
from io_scene_gltf2.io.imp.gltf2_io_gltf import glTFImporter

_read = glTFImporter.read


def main(job: dict[str, Any]) -> None:
    """Import, put every material into an unlit one, and render each camera."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=job["file"], import_webp_texture=True)
    scene = bpy.context.scene
    _leave_out_other_scenes(scene)
    white = bpy.data.materials.new("white")
    white.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (1, 1, 1, 1)
    white.use_backface_culling = True  # as the standard's default material
    for item in scene.objects:
        if item.type == "MESH" and not any(slot.material for slot in item.material_slots):
            item.data.materials.append(white)
    for material in bpy.data.materials:
        if material.name.startswith("DefaultMaterial"):
            _whiten(material)
        _unlit(material)
    fit = mathutils.Matrix(job["fit"])
    for item in list(scene.objects):
        if item.parent is None:
            item.matrix_world = fit @ item.matrix_world
    _set_up(scene, job)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    for index, view in enumerate(job["cameras"]):
        pose = mathutils.Matrix(view["camera_to_world"])
        camera.matrix_world = pose @ mathutils.Matrix.Diagonal((1, -1, -1, 1))
        lens = camera.data
        lens.sensor_fit, lens.sensor_width, lens.lens = "HORIZONTAL", 36.0, 36.0 * view["intrinsics"][0]
        lens.clip_start, lens.clip_end = 0.01, 1000.0
        scene.render.filepath = str(Path(job["out"]) / f"{index}.png")
        bpy.ops.render.render(write_still=True)


def _read_without_animations(importer: Any) -> None:
    """The importer would show the first frame of the first animation; we show what is before anything moves."""
    _read(importer)
    importer.data.animations = []


def _leave_out_other_scenes(scene: Any) -> None:
    """The importer puts all scenes into one, in collections of their own; the first file's scene is the first one."""
    children = [child for child in scene.collection.children if child.name.startswith("glTF_not_exported") is False]
    for child in children[1:]:
        scene.collection.children.unlink(child)
    for item in list(scene.objects):
        if item.type in ("LIGHT", "CAMERA") or "glTF_not_exported" in {c.name for c in item.users_collection}:
            item.hide_render = True


def _unlit(material: Any) -> None:
    """Base colour and light by an emission; alpha is all or nothing, and backs that are culled are clear."""
    tree = material.node_tree
    principled, shown, out = (_first(tree, kind) for kind in ("BSDF_PRINCIPLED", "EMISSION", "OUTPUT_MATERIAL"))
    if out is None or (principled is None and shown is None):
        return
    colour, alpha = _unlit_already(tree, shown, out) if principled is None else _colour_and_light(tree, principled)
    surface, mix, hole = (
        tree.nodes.new(name) for name in ("ShaderNodeEmission", "ShaderNodeMixShader", "ShaderNodeBsdfTransparent")
    )
    link = tree.links.new
    link(colour, surface.inputs["Color"])
    link(_is_solid(tree, alpha, material.use_backface_culling), mix.inputs[0])
    link(hole.outputs[0], mix.inputs[1])
    link(surface.outputs[0], mix.inputs[2])
    link(mix.outputs[0], out.inputs["Surface"])
    for socket in (out.inputs["Volume"], out.inputs["Displacement"]):
        for old in list(socket.links):
            tree.links.remove(old)


def _first(tree: Any, kind: str) -> Any:
    return next((node for node in tree.nodes if node.type == kind), None)


def _colour_and_light(tree: Any, principled: Any) -> tuple[Any, Any]:
    """The sum of base colour and emission, and the socket of alpha; 1.0 where nothing is linked to it."""
    total, scaled = tree.nodes.new("ShaderNodeMix"), tree.nodes.new("ShaderNodeVectorMath")
    total.data_type, total.blend_type, total.clamp_result = "RGBA", "ADD", True
    total.inputs[0].default_value = 1.0
    scaled.operation = "SCALE"
    _same(tree, principled.inputs["Base Color"], total.inputs[6])
    _same(tree, principled.inputs["Emission Color"], scaled.inputs[0])
    _same(tree, principled.inputs["Emission Strength"], scaled.inputs["Scale"])
    tree.links.new(scaled.outputs[0], total.inputs[7])
    links = principled.inputs["Alpha"].links
    return total.outputs[2], links[0].from_socket if links else 1.0


def _unlit_already(tree: Any, shown: Any, out: Any) -> tuple[Any, Any]:
    """The colour of KHR_materials_unlit as the importer builds it, and the factor of its mix with what is behind."""
    copied = tree.nodes.new("ShaderNodeMix")
    copied.data_type, copied.inputs[0].default_value = "RGBA", 0.0
    _same(tree, shown.inputs["Color"], copied.inputs[6])
    for node in tree.nodes:
        if node.type == "MIX_SHADER" and node.outputs[0].links and node.outputs[0].links[0].to_node is out:
            factor = node.inputs[0].links
            if factor and factor[0].from_node.type != "LIGHT_PATH":
                return copied.outputs[2], factor[0].from_socket
    return copied.outputs[2], 1.0


def _is_solid(tree: Any, alpha: Any, is_culled: bool) -> Any:
    """1 where alpha is over a half, and with ``is_culled`` on fronts alone."""
    solid = tree.nodes.new("ShaderNodeMath")
    solid.operation, solid.inputs[1].default_value = "GREATER_THAN", 127 / 255
    if isinstance(alpha, float):
        solid.inputs[0].default_value = alpha
    else:
        tree.links.new(alpha, solid.inputs[0])
    if not is_culled:
        return solid.outputs[0]
    geometry, front, both = (tree.nodes.new(f"ShaderNode{name}") for name in ("NewGeometry", "Math", "Math"))
    front.operation, both.operation = "SUBTRACT", "MULTIPLY"
    front.inputs[0].default_value = 1.0
    tree.links.new(geometry.outputs["Backfacing"], front.inputs[1])
    tree.links.new(front.outputs[0], both.inputs[0])
    tree.links.new(solid.outputs[0], both.inputs[1])
    return both.outputs[0]


def _whiten(material: Any) -> None:
    """The standard's default material is white and single-sided; the importer's is grey."""
    material.use_backface_culling = True
    for node in material.node_tree.nodes:
        if node.type == "BSDF_PRINCIPLED" and not node.inputs["Base Color"].links:
            node.inputs["Base Color"].default_value = (1, 1, 1, 1)


def _same(tree: Any, of: Any, to: Any) -> None:
    """Give a socket the value or the link of another, colours and vectors alike."""
    if of.links:
        tree.links.new(of.links[0].from_socket, to)
        return
    value = of.default_value
    if hasattr(value, "__len__") and len(value) != len(to.default_value):
        value = value[: len(to.default_value)]
    to.default_value = value


def _set_up(scene: Any, job: dict[str, Any]) -> None:
    scene.render.engine = "CYCLES"
    scene.render.film_transparent = True
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x = scene.render.resolution_y = job["size"]
    scene.cycles.filter_width = 0.01  # the middle of each pixel alone
    scene.render.use_persistent_data = True
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", 1, 0
    scene.cycles.pixel_filter_type, scene.cycles.use_adaptive_sampling, scene.cycles.use_denoising = "BOX", False, False
    scene.cycles.transparent_max_bounces = 64
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look, scene.view_settings.exposure, scene.view_settings.gamma = "None", 0.0, 1.0
    scene.render.dither_intensity = 0.0
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "PNG", "RGBA"


glTFImporter.read = _read_without_animations
for job in json.loads(Path(sys.argv[-1]).read_text(encoding="utf-8")):
    Path(job["out"]).mkdir()
    try:
        main(job)
    except Exception as error:
        (Path(job["out"]) / "error.txt").write_text(str(error).strip() or type(error).__name__, encoding="utf-8")
