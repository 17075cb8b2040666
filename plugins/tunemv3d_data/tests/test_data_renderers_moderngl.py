"""The OpenGL renderer's own matters: many views, what it frees, and what happens where there is no OpenGL."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import moderngl
import numpy as np
import pytest
import trimesh

from tunemv3d_core.errors import ComponentError
from tunemv3d_data.meshes.mesh import from_trimesh
from tunemv3d_data.renderers import auto
from tunemv3d_data.renderers import moderngl as opengl
from tunemv3d_data.renderers.light import Light
from tunemv3d_data.rendering.viewpoints import viewpoints

needs_opengl = pytest.mark.skipif(bool(auto.why_not_moderngl()), reason=f"no OpenGL: {auto.why_not_moderngl()}")


@pytest.fixture
def fresh_trial() -> Iterator[None]:
    auto.why_not_moderngl.cache_clear()
    yield
    auto.why_not_moderngl.cache_clear()


@needs_opengl
def test_views_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh, cameras = from_trimesh(trimesh.creation.torus(0.7, 0.2)), viewpoints("many", 7)
    renderer = opengl.ModernglRenderer()
    together = list(renderer(mesh, cameras, (24, 24)))
    alone = [next(renderer(mesh, cameras[i : i + 1], (24, 24))) for i in range(7)]
    monkeypatch.setattr(opengl, "_SIDE", 2 * 48)
    in_fours = list(renderer(mesh, cameras, (24, 24)))
    for views in (alone, in_fours):
        for a, b in zip(together, views, strict=True):
            assert all(np.allclose(a[name], b[name], atol=1e-4) for name in a)


@needs_opengl
def test_two_meshes_may_be_rendered_in_turns() -> None:
    ball, box = from_trimesh(trimesh.creation.icosphere(2)), from_trimesh(trimesh.creation.box())
    renderer, cameras = opengl.ModernglRenderer(), viewpoints("turns", 3)
    expected = [[view["rgba"] for view in renderer(mesh, cameras, (32, 32))] for mesh in (ball, box)]
    for one, two, pair in zip(
        renderer(ball, cameras, (32, 32)), renderer(box, cameras, (32, 32)), zip(*expected, strict=True), strict=True
    ):
        assert np.array_equal(one["rgba"], pair[0]) and np.array_equal(two["rgba"], pair[1])


@needs_opengl
def test_what_a_mesh_took_is_freed_even_where_its_views_are_not_all_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, held = opengl.ModernglRenderer(), []

    def spy(name: str) -> None:
        make = getattr(renderer.context, name)

        def made(*args: Any, **kwargs: Any) -> Any:
            held.append(make(*args, **kwargs))
            return held[-1]

        monkeypatch.setattr(renderer.context, name, made)

    mesh = from_trimesh(trimesh.creation.box())
    list(renderer(mesh, viewpoints("a", 2), (16, 16)))
    for name in ("buffer", "texture", "vertex_array", "framebuffer"):
        spy(name)
    list(renderer(mesh, viewpoints("a", 2), (16, 16)))
    views = renderer(mesh, viewpoints("a", 2), (16, 16))
    next(views)
    views.close()
    assert len(held) == 6, "corners, textures and their layout, twice; the pictures are those of the mesh before"
    assert all(isinstance(item.mglo, moderngl.InvalidObject) for item in held)


@needs_opengl
def test_more_lights_than_the_program_has_are_refused() -> None:
    light = Light(0.5, 0.0, (((0.0, 0.0, 1.0), 0.01),) * 17)
    with pytest.raises(ValueError, match="16"):
        next(opengl.ModernglRenderer()(from_trimesh(trimesh.creation.box()), viewpoints("a", 1), (16, 16), light))


def test_no_opengl_is_one_message_that_names_the_other_renderer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**_: object) -> None:
        raise OSError("libEGL.so not found")

    monkeypatch.setattr("moderngl.create_context", fails)
    with pytest.raises(ComponentError, match=r"libEGL.so not found.*libegl1.*embree"):
        opengl.context.__wrapped__()


@pytest.mark.usefixtures("fresh_trial")
def test_auto_falls_back_to_embree_and_knows_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = tmp_path / "python"
    crash.write_text("#!/bin/sh\necho 'eglInitialize failed' >&2\nkill -SEGV $$\n")
    crash.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crash))
    assert auto.choose("auto") == "embree" and "eglInitialize failed" in auto.why_not_moderngl()
    assert auto.choose("moderngl") == "moderngl" and auto.choose("blender") == "blender"


@needs_opengl
def test_auto_takes_opengl_where_there_is_one() -> None:
    assert auto.choose("auto") == "moderngl"
