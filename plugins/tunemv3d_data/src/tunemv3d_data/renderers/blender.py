"""The ``blender`` mesh renderer: path tracing by Cycles in a process of its own.

Blender's Python module, bpy, needs an older NumPy than this project, so it never lives in the same environment:
``python -m venv bpy && bpy/bin/pip install bpy`` and ``TUNEMV3D_BLENDER=bpy/bin/python``, or an installed Blender.
Geometry is read from point samples on the grid of ``embree``'s rays, so depth and coverage mean the same.
"""

import importlib.util
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError
from tunemv3d_data.meshes.blender import find_blender, run_in_blender
from tunemv3d_data.meshes.materials import Material
from tunemv3d_data.meshes.mesh import Bytes, Floats, Mesh
from tunemv3d_data.meshes.textured import as_mesh
from tunemv3d_data.renderers.light import DARKEST, STUDIO, Light
from tunemv3d_data.renderers.samples import Samples, resolve
from tunemv3d_data.renderers.surfaces import corner_normals, prefiltered
from tunemv3d_data.spec import BlenderSpec

_GRID = 2
_GAMMA = 2.2
_CHANNELS = {  # newer and older Blenders
    "depth": ("Depth.Z",),
    "x": ("Normal.X",),
    "y": ("Normal.Y",),
    "z": ("Normal.Z",),
    "r": ("Diffuse Color.R", "DiffCol.R"),
    "g": ("Diffuse Color.G", "DiffCol.G"),
    "b": ("Diffuse Color.B", "DiffCol.B"),
    "material": ("Material Index.X", "IndexMA.X"),
    "R": ("Combined.R",),
    "G": ("Combined.G",),
    "B": ("Combined.B",),
    "A": ("Combined.A",),
}


class BlenderRenderer:
    """Render meshes by Cycles; one Blender process per object.

    Raises:
        ComponentError: no Blender, no OpenEXR to read its pictures with, or no such HDRI.
    """

    def __init__(self, spec: BlenderSpec) -> None:
        self.spec, self.program = spec, find_blender(spec.python)
        if importlib.util.find_spec("OpenEXR") is None:
            raise ComponentError("mesh renderer 'blender': needs OpenEXR: pip install 'tunemv3d-data[blender]'")
        if spec.hdri is not None and not Path(spec.hdri).is_file():
            raise ComponentError(f"mesh renderer 'blender': hdri: no file {spec.hdri}")

    def __call__(
        self, mesh: object, cameras: Cameras, size: tuple[int, int], light: object = STUDIO
    ) -> Iterator[dict[str, object]]:
        """Yield a view for each camera, as ``EmbreeRenderer.__call__`` says. An HDRI stands for ``light``.

        Raises:
            ValueError: Blender failed, with its last words; or cameras without square pixels.
        """
        mesh = as_mesh(mesh, "blender")
        assert isinstance(light, Light)
        fx, fy = cameras.intrinsics[:, 0] * size[1], cameras.intrinsics[:, 1] * size[0]
        if not bool(((fx - fy).abs() <= 1e-4 * fx).all()):
            raise ValueError("the blender renderer takes cameras with square pixels (fx * width = fy * height)")
        with tempfile.TemporaryDirectory(prefix="tunemv3d-") as name:
            folder = Path(name)
            _write_scene(folder, mesh, prefiltered(mesh, cameras, size[1]))
            job = self._job(cameras, size, light) | {"materials": [_kind(material) for material in mesh.materials]}
            (folder / "job.json").write_text(json.dumps(job), encoding="utf-8", newline="\n")
            if words := run_in_blender(self.program, "render.py", folder):
                raise ValueError(f"Blender: {words}")
            for index in range(cameras.shape[0]):
                yield _view(folder, index, size)

    def _job(self, cameras: Cameras, size: tuple[int, int], light: Light) -> dict[str, Any]:
        views = zip(cameras.camera_to_world.tolist(), cameras.intrinsics.tolist(), strict=True)
        return {
            "cameras": [{"camera_to_world": pose, "intrinsics": intrinsics} for pose, intrinsics in views],
            "size": size,
            "grid": _GRID,
            "darkest": DARKEST / 255,
            **self.spec.model_dump(include={"samples", "denoise", "threads", "hdri_strength"}),
            "hdri": None if self.spec.hdri is None else str(Path(self.spec.hdri).resolve()),
            **_physical(light),
        }


def build(spec: BlenderSpec) -> BlenderRenderer:
    """Build the renderer from its options."""
    return BlenderRenderer(spec)


def _write_scene(folder: Path, mesh: Mesh, textures: list[Bytes]) -> None:
    arrays = {name: getattr(mesh, name) for name in ("triangles", "uv", "material")}
    if mesh.colours is not None:
        arrays["colours"] = mesh.colours
    np.savez(folder / "scene.npz", normals=corner_normals(mesh), **arrays)
    (folder / "textures").mkdir()
    for index, texture in enumerate(textures):
        raised = texture.copy()
        if mesh.colours is None:  # else Blender raises what it multiplied
            raised[..., :3] = np.rint(DARKEST + texture[..., :3] * ((255 - DARKEST) / 255))
        Image.fromarray(raised).save(folder / "textures" / f"{index:05d}.png")


def _kind(material: Material) -> dict[str, Any]:
    return {"wrap": material.wrap, "smooth": material.smooth, "double_sided": material.double_sided}


def _physical(light: Light) -> dict[str, Any]:
    """The lights whose sum on linear colours comes closest to ``light`` on sRGB colours, over all directions."""
    heights = np.linspace(-1, 1, 64)
    turns = np.pi * (3 - np.sqrt(5)) * np.arange(64)
    flat = np.sqrt(1 - heights**2)
    normals = np.stack([flat * np.cos(turns), flat * np.sin(turns), heights], axis=-1).astype(np.float32)
    towards = [np.asarray(direction) / np.linalg.norm(direction) for direction, _ in light.directions]
    lobes = [np.clip(normals @ direction, 0, None) for direction in towards]
    parts = np.stack([np.ones(64), normals[:, 2], *lobes], axis=-1)
    ambient, sky, *strengths = np.linalg.lstsq(parts, light.on(normals) ** _GAMMA, rcond=None)[0].tolist()
    # A sky of a + b z lights a surface by a + 2/3 b n_z; a sun of energy pi lights it by the cosine.
    suns = [
        (direction.tolist(), max(np.pi * strength, 0.0)) for direction, strength in zip(towards, strengths, strict=True)
    ]
    return {"ambient": ambient, "sky": 1.5 * sky, "suns": suns}


def _view(folder: Path, index: int, size: tuple[int, int]) -> dict[str, object]:
    fine = _read(folder / f"geometry-{index:03d}.exr", ("depth", "x", "y", "z", "r", "g", "b", "material"))
    hit = np.nonzero(fine["material"].ravel() > 0.5)[0]
    row, column = np.divmod(hit, size[1] * _GRID)
    depth, *normal, red, green, blue, material = (fine[name].ravel()[hit] for name in fine)
    albedo = _to_srgb(np.stack([red, green, blue], axis=-1))
    samples = Samples(
        index=(row // _GRID) * size[1] + column // _GRID,
        depth=depth,
        normal=np.stack(normal, axis=-1),
        albedo=albedo,
        material=material.round().astype(np.int32) - 1,
    )
    coarse = _read(folder / f"beauty-{index:03d}.exr", ("R", "G", "B", "A"))
    alpha = coarse["A"].reshape(-1, 1)
    lit = _to_srgb(np.stack([coarse[name].ravel() for name in "RGB"], axis=-1) / np.maximum(alpha, 1e-6))
    # Where all paths missed what a sample met, the picture has no colour to give.
    colour = np.where(alpha > 0, lit, np.nan)[samples.index]
    return resolve(samples, np.where(np.isnan(colour), albedo, colour), size, _GRID**2)


def _read(path: Path, names: tuple[str, ...]) -> dict[str, Floats]:
    """Channels ``h w`` of a multilayer EXR."""
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        found = {name: channel.pixels for part in file.parts for name, channel in part.channels.items()}
    by_end = {name.split(".", 1)[1]: pixels for name, pixels in found.items()}
    return {name: next(by_end[end] for end in _CHANNELS[name] if end in by_end) for name in names}


def _to_srgb(linear: NDArray[Any]) -> Floats:
    """Linear 0 to 1 as sRGB 0 to 255."""
    low, high = linear * 12.92, 1.055 * np.clip(linear, 1e-9, 1) ** (1 / 2.4) - 0.055
    return np.asarray(np.where(linear <= 0.0031308, low, high) * 255, dtype=np.float32)
