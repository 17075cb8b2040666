"""Render the scene of a folder by Cycles: ``scene.npz``, ``textures/`` and ``job.json`` in, two EXR files a view out.

``geometry-000.exr`` holds point samples at the centres of a fine grid: depth, normal, colour, material.
``beauty-000.exr`` holds the lit picture, linear, alpha premultiplied.
"""

import json
import sys
from pathlib import Path
from typing import Any

import bpy
import mathutils
import numpy as np

_NEAR = 0.002
_GAMMA = 2.2


def main(folder: Path) -> None:
    """Build the scene and render every camera twice."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    _add_mesh(scene, folder, job)
    _add_light(scene, job)
    _set_up(scene, job)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    h, w = job["size"]
    for kind, scale, samples, width in (("geometry", job["grid"], 1, 0.01), ("beauty", 1, job["samples"], 1.0)):
        scene.render.resolution_x, scene.render.resolution_y = w * scale, h * scale
        scene.cycles.samples, scene.cycles.filter_width = samples, width
        scene.cycles.use_denoising = kind == "beauty" and job["denoise"] and _has_denoiser(scene)
        for index, view in enumerate(job["cameras"]):
            _aim(camera, view, h / w)
            scene.render.filepath = str(folder / f"{kind}-{index:03d}.exr")
            bpy.ops.render.render(write_still=True)


def _add_mesh(scene: Any, folder: Path, job: dict[str, Any]) -> None:
    arrays = np.load(folder / "scene.npz")
    faces = len(arrays["material"])
    mesh = bpy.data.meshes.new("mesh")
    mesh.vertices.add(3 * faces)
    mesh.loops.add(3 * faces)
    mesh.polygons.add(faces)
    mesh.vertices.foreach_set("co", arrays["triangles"].ravel())
    mesh.loops.foreach_set("vertex_index", np.arange(3 * faces, dtype=np.int32))
    mesh.polygons.foreach_set("loop_start", np.arange(0, 3 * faces, 3, dtype=np.int32))
    if bpy.app.version < (4, 1):
        mesh.polygons.foreach_set("loop_total", np.full(faces, 3, dtype=np.int32))
        mesh.use_auto_smooth = True
    mesh.polygons.foreach_set("use_smooth", np.ones(faces, dtype=bool))
    mesh.uv_layers.new().data.foreach_set("uv", arrays["uv"].ravel())
    is_coloured = "colours" in arrays
    if is_coloured:
        factors = mesh.color_attributes.new("factors", "FLOAT_COLOR", "CORNER")
        factors.data.foreach_set("color", arrays["colours"].ravel())
    for index, path in enumerate(sorted((folder / "textures").iterdir())):
        surface = _Surface(index, path, job["materials"][index])
        mesh.materials.append(surface.finished(job["darkest"] if is_coloured else None))
    mesh.polygons.foreach_set("material_index", arrays["material"])
    mesh.update(calc_edges=True)
    mesh.normals_split_custom_set(arrays["normals"].reshape(-1, 3))
    scene.collection.objects.link(bpy.data.objects.new("mesh", mesh))


class _Surface:
    """A matt surface with the texture's colours; where its alpha is under a half, there is none.

    Light passes what lies within ``_NEAR`` of its surface: sheets that lie on one another, as those of many files do,
    would be in each other's shadow.
    """

    def __init__(self, index: int, path: Path, kind: dict[str, Any]) -> None:
        self.material = bpy.data.materials.new(path.stem)
        self.material.use_nodes = True
        self.material.pass_index = index + 1
        self.nodes, self.link = self.material.node_tree.nodes, self.material.node_tree.links.new
        self.nodes.clear()
        self.kind = kind
        self.image = self.nodes.new("ShaderNodeTexImage")
        self.image.image = bpy.data.images.load(str(path))
        self.image.image.alpha_mode = "CHANNEL_PACKED"
        self.image.interpolation = "Linear" if kind["smooth"] else "Closest"
        if kind["wrap"] != ["repeat", "repeat"]:
            self._wrap()

    def finished(self, darkest: float | None) -> Any:
        """Link all; with ``darkest`` (sRGB) the corners' factors count, and what comes out is raised to it."""
        path_of_light, geometry = self.nodes.new("ShaderNodeLightPath"), self.nodes.new("ShaderNodeNewGeometry")
        colour, alpha = self.image.outputs["Color"], self.image.outputs["Alpha"]
        if darkest is not None:
            colour, alpha = self._multiplied(colour, alpha, darkest)
        far = self._calculated("GREATER_THAN", path_of_light.outputs["Ray Length"], _NEAR)
        met = self._calculated("MAXIMUM", path_of_light.outputs["Is Camera Ray"], far)
        solid = self._calculated("GREATER_THAN", alpha, 127.0 / 255.0)
        if not self.kind["double_sided"]:
            front = self._calculated("SUBTRACT", 1.0, geometry.outputs["Backfacing"])
            solid = self._calculated("MULTIPLY", solid, front)
        names = ("BsdfTransparent", "BsdfDiffuse", "MixShader", "OutputMaterial")
        hole, surface, mix, out = (self.nodes.new(f"ShaderNode{name}") for name in names)
        self.link(colour, surface.inputs["Color"])
        self.link(self._calculated("MULTIPLY", met, solid), mix.inputs[0])
        self.link(hole.outputs[0], mix.inputs[1])
        self.link(surface.outputs[0], mix.inputs[2])
        self.link(mix.outputs[0], out.inputs["Surface"])
        return self.material

    def _calculated(self, operation: str, *values: Any) -> Any:
        node = self.nodes.new("ShaderNodeMath")
        node.operation = operation
        for place, value in enumerate(values):
            if isinstance(value, float):
                node.inputs[place].default_value = value
            else:
                self.link(value, node.inputs[place])
        return node.outputs[0]

    def _wrap(self) -> None:
        """The texture repeats; where it should not, coordinates stay half a texel within its border."""
        place, split, joined = (self.nodes.new(f"ShaderNode{name}") for name in ("UVMap", "SeparateXYZ", "CombineXYZ"))
        self.link(place.outputs["UV"], split.inputs[0])
        for axis, (wrap, size) in enumerate(zip(self.kind["wrap"], self.image.image.size, strict=True)):
            value = split.outputs[axis]
            if wrap == "mirror":
                value = self._calculated("PINGPONG", value, 1.0)
            if wrap != "repeat":
                value = self._calculated("MINIMUM", self._calculated("MAXIMUM", value, 0.5 / size), 1 - 0.5 / size)
            self.link(value, joined.inputs[axis])
        self.link(joined.outputs[0], self.image.inputs["Vector"])

    def _multiplied(self, colour: Any, alpha: Any, darkest: float) -> tuple[Any, Any]:
        """Colour and alpha times the corners' factors. Raising is linear in sRGB, here a power of 2.2."""
        factors, product = self.nodes.new("ShaderNodeVertexColor"), self.nodes.new("ShaderNodeVectorMath")
        factors.layer_name, product.operation = "factors", "MULTIPLY"
        self.link(colour, product.inputs[0])
        self.link(factors.outputs["Color"], product.inputs[1])
        encoded, raised, decoded = (self.nodes.new(f"ShaderNode{name}") for name in ("Gamma", "VectorMath", "Gamma"))
        encoded.inputs["Gamma"].default_value, decoded.inputs["Gamma"].default_value = 1 / _GAMMA, _GAMMA
        raised.operation = "MULTIPLY_ADD"
        raised.inputs[1].default_value, raised.inputs[2].default_value = (1 - darkest,) * 3, (darkest,) * 3
        self.link(product.outputs[0], encoded.inputs["Color"])
        self.link(encoded.outputs[0], raised.inputs[0])
        self.link(raised.outputs[0], decoded.inputs["Color"])
        return decoded.outputs[0], self._calculated("MULTIPLY", alpha, factors.outputs["Alpha"])


def _add_light(scene: Any, job: dict[str, Any]) -> None:
    """A picture of the surroundings, or light that grows evenly with height, and suns."""
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    nodes, link = scene.world.node_tree.nodes, scene.world.node_tree.links.new
    nodes.clear()
    background, out = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeOutputWorld")
    link(background.outputs[0], out.inputs["Surface"])
    if job["hdri"] is not None:
        surroundings = nodes.new("ShaderNodeTexEnvironment")
        surroundings.image = bpy.data.images.load(job["hdri"])
        background.inputs["Strength"].default_value = job["hdri_strength"]
        link(surroundings.outputs["Color"], background.inputs["Color"])
        return
    place, split, line = (nodes.new(f"ShaderNode{name}") for name in ("TexCoord", "SeparateXYZ", "Math"))
    line.operation = "MULTIPLY_ADD"
    line.inputs[1].default_value, line.inputs[2].default_value = job["sky"], job["ambient"]
    background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    link(place.outputs["Generated"], split.inputs[0])
    link(split.outputs["Z"], line.inputs[0])
    link(line.outputs[0], background.inputs["Strength"])
    for direction, strength in job["suns"]:
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy, sun.angle = strength, 0.2
        lamp = bpy.data.objects.new("sun", sun)
        lamp.rotation_mode = "QUATERNION"
        lamp.rotation_quaternion = mathutils.Vector(direction).to_track_quat("Z", "Y")
        scene.collection.objects.link(lamp)


def _set_up(scene: Any, job: dict[str, Any]) -> None:
    scene.render.engine = "CYCLES"
    scene.render.film_transparent = True
    scene.render.use_persistent_data = True
    scene.render.threads_mode, scene.render.threads = "FIXED", job["threads"]
    scene.cycles.device, scene.cycles.pixel_filter_type = "CPU", "BOX"
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.seed = 0
    layer = scene.view_layers[0]
    layer.use_pass_z = layer.use_pass_normal = layer.use_pass_diffuse_color = layer.use_pass_material_index = True
    image = scene.render.image_settings
    if hasattr(image, "media_type"):  # from Blender 5.0 on
        image.media_type = "MULTI_LAYER_IMAGE"
    image.file_format, image.color_depth, image.exr_codec = "OPEN_EXR_MULTILAYER", "32", "ZIP"


def _has_denoiser(scene: Any) -> bool:
    """Distributions build Blender without one."""
    try:
        scene.cycles.denoiser = "OPENIMAGEDENOISE"
    except TypeError:
        return False
    return True


def _aim(camera: Any, view: dict[str, Any], height: float) -> None:
    """Blender's cameras have y up and look along -z; ``height`` and shifts are in widths of the picture."""
    fx, _, cx, cy = view["intrinsics"]
    camera.matrix_world = mathutils.Matrix((np.array(view["camera_to_world"]) * [1, -1, -1, 1]).tolist())
    lens = camera.data
    lens.sensor_fit, lens.sensor_width, lens.lens = "HORIZONTAL", 36.0, 36.0 * fx
    lens.shift_x, lens.shift_y = 0.5 - cx, (cy - 0.5) * height
    lens.clip_start, lens.clip_end = 0.01, 1000.0


main(Path(sys.argv[-1]))
