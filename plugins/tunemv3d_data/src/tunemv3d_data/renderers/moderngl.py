"""The ``moderngl`` mesh renderer: OpenGL without a window (EGL), on a GPU or in software (Mesa's llvmpipe).

All views of a mesh are drawn side by side into one large picture with several samples per pixel, which a second program
turns into pixels; so each mesh and each picture crosses the bus once. Colours, lights and coverage are ``embree``'s.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import ComponentError
from tunemv3d_data.meshes.mesh import Floats, Mesh
from tunemv3d_data.meshes.textured import as_mesh
from tunemv3d_data.renderers import shaders
from tunemv3d_data.renderers.light import BRIGHTEST, DARKEST, STUDIO, Light
from tunemv3d_data.renderers.surfaces import Texels, corner_normals, prefiltered
from tunemv3d_data.spec import ModernglSpec

_SIDE = 2048
"""Of the large picture, samples; one view may be larger."""
_ACROSS = 4096
"""Texels in a row of the texture that holds all textures."""
_CORNER = np.dtype([("position", "3f4"), ("normal", "3f4"), ("uv", "2f4"), ("look", "4i4"), ("kind", "4i1")])


class ModernglRenderer:
    """Render meshes by OpenGL with ``samples`` x ``samples`` samples per pixel, on the grid of ``embree``'s rays.

    Raises:
        ComponentError: no OpenGL 3.3 context can be created by EGL.
    """

    def __init__(self, samples: int = 2) -> None:
        self.samples = samples
        self.context = context()
        self.surface_program = self.context.program(shaders.SURFACE_VERTEX, shaders.SURFACE_FRAGMENT)
        self.pixel_program = self.context.program(shaders.PIXEL_VERTEX, shaders.PIXEL_FRAGMENT)
        self.whole_picture = self.context.vertex_array(self.pixel_program, [])
        self.targets: _Targets | None = None

    def __call__(
        self, mesh: object, cameras: Cameras, size: tuple[int, int], light: object = STUDIO
    ) -> Iterator[dict[str, object]]:
        """Yield a view for each camera, as ``EmbreeRenderer.__call__`` says."""
        mesh = as_mesh(mesh, "moderngl")
        assert isinstance(light, Light)
        most_rows, most_columns = (max(1, _SIDE // (side * self.samples)) for side in size)
        at_once = most_rows * most_columns
        with self._uploaded(mesh, cameras, size[1]) as uploaded:
            for first in range(0, cameras.shape[0], at_once):
                some = cameras[first : first + at_once]
                columns = min(most_columns, some.shape[0])
                targets = self._targets(columns, -(-some.shape[0] // columns), size)
                self._draw(uploaded, some, targets)
                yield from self._read(targets, light, some.shape[0])

    @contextmanager
    def _uploaded(self, mesh: Mesh, cameras: Cameras, width: int) -> Iterator["_Uploaded"]:
        """The mesh's corners and textures on the device, for as long as they are needed."""
        texels = Texels(mesh.materials, prefiltered(mesh, cameras, width))
        rows = -(-len(texels.values) // _ACROSS)
        if rows > (most := self.context.info["GL_MAX_TEXTURE_SIZE"]):
            raise ValueError(f"its textures have {rows} rows of {_ACROSS} texels, more than the {most} of this OpenGL")
        padded = np.zeros((rows * _ACROSS, 4), dtype=np.uint8)
        padded[: len(texels.values)] = texels.values
        with ExitStack() as stack:
            corners = self.context.buffer(_corners(mesh, texels).tobytes())
            stack.callback(corners.release)
            texture = self.context.texture((_ACROSS, rows), 4, padded.tobytes())
            stack.callback(texture.release)
            names = [f"in_{name}" for name in _CORNER.names or ()]
            content: list[Any] = [(corners, "3f 3f 2f 4i 4i1", *names)]
            if mesh.colours is not None:
                colours = self.context.buffer(mesh.colours.astype(np.float32).tobytes())
                stack.callback(colours.release)
                content.append((colours, "4f", "in_colour"))
            triangles = self.context.vertex_array(self.surface_program, content)
            stack.callback(triangles.release)
            radius = float(np.linalg.norm(mesh.triangles, axis=-1).max())
            yield _Uploaded(triangles, texture, radius, mesh.colours is not None)

    def _targets(self, columns: int, rows: int, size: tuple[int, int]) -> "_Targets":
        wanted = (columns, rows, size)
        if self.targets is None or (self.targets.columns, self.targets.rows, self.targets.size) != wanted:
            if self.targets is not None:
                self.targets.release()
            self.targets = _Targets.allocate(self.context, columns, rows, size, self.samples)
        return self.targets

    def _draw(self, uploaded: "_Uploaded", cameras: Cameras, targets: "_Targets") -> None:
        h, w = (side * self.samples for side in targets.size)
        targets.samples.use()
        targets.samples.clear()
        self.context.enable_only(moderngl.DEPTH_TEST)
        uploaded.texture.use(0)
        self.surface_program["texels"] = 0
        self.surface_program["darkest"] = DARKEST / 255
        self.surface_program["coloured"] = uploaded.is_coloured
        for index in range(cameras.shape[0]):
            row, column = divmod(index, targets.columns)
            self.context.viewport = (column * w, row * h, w, h)
            projection = _projection(cameras[index], uploaded.radius).T.astype("f4")
            self.surface_program["projection"].write(projection.tobytes())  # type: ignore[union-attr]
            uploaded.triangles.render()

    def _read(self, targets: "_Targets", light: Light, views: int) -> Iterator[dict[str, object]]:
        """Turn samples into pixels, and fetch them."""
        for unit, texture in enumerate(targets.sample_textures, start=1):
            texture.use(unit)
        for unit, name in enumerate(("sample_albedo", "sample_normal_and_depth", "sample_material"), start=1):
            self.pixel_program[name] = unit
        self.pixel_program["samples"], self.pixel_program["brightest"] = self.samples, BRIGHTEST / 255
        self.pixel_program["ambient"], self.pixel_program["sky"] = light.ambient, light.sky
        self.pixel_program["directions"] = len(light.directions)
        self.pixel_program["lights"].write(_lights(light).tobytes())  # type: ignore[union-attr]
        targets.pixels.use()
        self.context.enable_only(moderngl.NOTHING)
        self.whole_picture.render(moderngl.TRIANGLES, vertices=3)
        rgba, albedo, surface, material = targets.read()
        for index in range(views):
            yield {
                "rgba": rgba[index].copy(),
                "depth": surface[index, ..., 3].copy(),
                "normals": surface[index, ..., :3].copy(),
                "albedo": albedo[index, ..., :3].copy(),
                "material": material[index, ..., 0].astype(np.int16) - np.int16(1),
            }


def build(spec: ModernglSpec) -> ModernglRenderer:
    """Build the renderer from its options."""
    return ModernglRenderer(spec.samples)


@cache
def context() -> moderngl.Context:
    """Return this process's OpenGL context.

    Raises:
        ComponentError: there is none to be had; says why and what to do.
    """
    # Every worker of a job is a process of its own: in software, each draws in the one thread that it has.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    try:
        return moderngl.create_context(require=330, standalone=True, backend="egl")  # type: ignore[arg-type]
    except Exception as error:  # glcontext raises whatever its loader and the driver provoke
        raise ComponentError(
            f"mesh renderer 'moderngl': EGL gives no OpenGL 3.3 context ({error}); install a driver (on Debian: "
            "libegl1 libgl1 libgl1-mesa-dri), or use the renderer 'embree', which needs none"
        ) from None


@dataclass(frozen=True)
class _Uploaded:
    """A mesh on the device.

    Attributes:
        triangles: its corners.
        texture: all its textures in one.
        radius: of the sphere that holds it.
        is_coloured: its corners have factors on the textures.
    """

    triangles: moderngl.VertexArray
    texture: moderngl.Texture
    radius: float
    is_coloured: bool


@dataclass(frozen=True)
class _Targets:
    """Pictures to draw into: ``columns`` x ``rows`` views of ``size`` (h, w), as samples and as pixels."""

    columns: int
    rows: int
    size: tuple[int, int]
    sample_textures: tuple[moderngl.Texture, ...]
    sample_depth: moderngl.Renderbuffer
    samples: moderngl.Framebuffer
    pixel_textures: tuple[moderngl.Texture, ...]
    pixels: moderngl.Framebuffer

    @staticmethod
    def allocate(context: moderngl.Context, columns: int, rows: int, size: tuple[int, int], samples: int) -> "_Targets":
        whole = (columns * size[1], rows * size[0])
        fine = (whole[0] * samples, whole[1] * samples)
        layout = ((4, "f1"), (4, "f4"), (1, "f4"))
        sample_textures = tuple(context.texture(fine, count, dtype=dtype) for count, dtype in layout)
        pixel_textures = tuple(context.texture(whole, count, dtype=dtype) for count, dtype in ((4, "f1"), *layout))
        depth = context.depth_renderbuffer(fine)
        framebuffers = context.framebuffer(sample_textures, depth), context.framebuffer(pixel_textures)
        return _Targets(columns, rows, size, sample_textures, depth, framebuffers[0], pixel_textures, framebuffers[1])

    def read(self) -> list[NDArray[Any]]:
        """Read each pixel texture's views, ``n h w c``."""
        return [self._views(texture) for texture in self.pixel_textures]

    def _views(self, texture: moderngl.Texture) -> NDArray[Any]:
        values = np.frombuffer(texture.read(), dtype=np.uint8 if texture.dtype == "f1" else np.float32)
        (h, w), channels = self.size, texture.components
        return values.reshape(self.rows, h, self.columns, w, channels).swapaxes(1, 2).reshape(-1, h, w, channels)

    def release(self) -> None:
        for texture in (*self.sample_textures, *self.pixel_textures):
            texture.release()
        self.sample_depth.release()
        self.samples.release()
        self.pixels.release()


def _corners(mesh: Mesh, texels: Texels) -> NDArray[Any]:
    """Data of every corner for the first program; a material stands for its texture's place, height and width."""
    corners = np.empty((len(mesh.triangles), 3), dtype=_CORNER)
    corners["position"], corners["normal"], corners["uv"] = mesh.triangles, corner_normals(mesh), mesh.uv
    looks = np.column_stack([texels.offsets, texels.sizes, np.arange(len(mesh.materials))])
    corners["look"] = looks[mesh.material][:, None]
    kinds = np.column_stack([texels.wraps, texels.is_smooth, texels.is_double_sided])
    corners["kind"] = kinds[mesh.material][:, None]
    return corners


def _projection(camera: Cameras, radius: float) -> NDArray[np.float64]:
    """World to clip space, ``4 4``. Upside down for OpenGL, whose first row is the lowest, so none is turned later."""
    world_to_camera = np.linalg.inv(camera.camera_to_world.double().numpy())
    fx, fy, cx, cy = camera.intrinsics.double().tolist()
    middle = world_to_camera[2, 3]
    near, far = max(0.99 * (middle - radius), 0.01), 1.01 * (middle + radius)
    in_camera = np.array(
        [
            [2 * fx, 0, 2 * cx - 1, 0],
            [0, 2 * fy, 2 * cy - 1, 0],
            [0, 0, (far + near) / (far - near), -2 * far * near / (far - near)],
            [0, 0, 1, 0],
        ]
    )
    return np.asarray(in_camera @ world_to_camera)


def _lights(light: Light) -> Floats:
    """The light's directions as the second program takes them, ``l 4``; unused ones have strength 0."""
    if len(light.directions) > shaders.LIGHTS:
        raise ValueError(f"the moderngl renderer takes at most {shaders.LIGHTS} directions of light")
    lights = np.zeros((shaders.LIGHTS, 4), dtype=np.float32)
    for index, (direction, strength) in enumerate(light.directions):
        lights[index] = (*(np.asarray(direction) / np.linalg.norm(direction)), strength)
    return lights
