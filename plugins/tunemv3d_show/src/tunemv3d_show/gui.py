"""The viewer in the browser: viser's widgets and scene around a session."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import viser
from numpy.typing import NDArray

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.file_names import is_inside, leading_out
from tunemv3d_show.export import export
from tunemv3d_show.session import Session, Step

RESOLUTION = 40
"""Points along a side of the cube in which the surface is looked for: under a second on a CPU."""

PICTURES = {"views": "latents", "what the model saw": "x_t", "the field's guess": "x0"}
"""Pictures that the cameras can show, and the attribute of a step."""

ACCENT = (13, 101, 96)


class Viewer:
    """The window.

    Args:
        session: what it works on.
        server: of viser.
        out: folder below which exported objects go.
    """

    def __init__(self, session: Session, server: viser.ViserServer, out: Path) -> None:
        self.session, self.server, self._out = session, server, out
        self._busy = threading.Lock()
        self._frusta: list[Any] = []
        self._handles: list[Any] = []
        self._mesh: Any = None
        self._drawn: Cameras | None = None
        server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=ACCENT, control_width="large")
        server.scene.set_up_direction("+z")
        server.scene.add_grid("/ground", width=4, height=4, position=(0, 0, -1), cell_color=(225, 222, 216))
        server.initial_camera.position, server.initial_camera.look_at = (2.2, -3.4, 1.9), (0.0, 0.0, 0.0)
        self._object_panel()
        self._step_panel()
        self._camera_panel()
        self._export_panel(out)
        self._place_cameras()
        self.say("Say what to make, and press Sample.")

    # ---- panels

    def _object_panel(self) -> None:
        gui, own = self.server.gui, self.session.settings
        self.message = gui.add_markdown("")
        self.progress = gui.add_progress_bar(0.0, color=ACCENT)
        self.prompt = gui.add_text("Prompt", own.prompt)
        self.guidance = gui.add_slider("Guidance", 1.0, 12.0, 0.5, min(12.0, max(1.0, own.guidance)))
        self.consistency = gui.add_slider(
            "K", 0.0, 3.0, 0.1, min(3.0, own.consistency), hint="0 is the plain 2D model, 1 the tuned one"
        )
        self.steps = gui.add_number("Steps", own.steps, min=1, max=1000, step=1)
        self.seed = gui.add_number("Seed", own.seed, min=0, max=2**32 - 1, step=1)
        self._button("Sample", lambda: self.session.start(self._on_step), color=ACCENT)
        gui.add_button("Stop", hint="After the step at work; its steps stay").on_click(lambda _: self.session.stop())

    def _step_panel(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Steps"):
            self.shown = gui.add_slider("Step", 0, 1, 1, 0)
            self.pictures = gui.add_dropdown("Cameras show", tuple(PICTURES))
            self.every = gui.add_slider("Surface every", 0, 10, 1, 5, hint="Steps; 0 looks for none while sampling")
            self._button("Branch from this step", lambda: self.session.branch(int(self.shown.value), self._on_step))
        self.shown.on_update(lambda event: self._chosen() if event.client is not None else None)
        self.pictures.on_update(lambda _: self._chosen())

    def _camera_panel(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Cameras"):
            count = self.session.cameras.shape[0]
            self.count = gui.add_slider("Around the object", 1, 16, 1, min(16, count))
            self.elevation = gui.add_slider("Elevation", -30.0, 80.0, 1.0, 20.0, hint="Degrees above the horizon")
            self.distance = gui.add_slider("Distance", 1.5, 5.0, 0.1, 2.7)
            self.drag = gui.add_checkbox("Drag them", False)
            for widget in (self.count, self.elevation, self.distance):
                widget.on_update(lambda _: self._guarded(self._orbit))
            self.drag.on_update(lambda _: self._place_handles())
            self._with_client("Add one where I stand", self._add_camera)
            self._with_client("Remove the last", lambda _: self._remove_camera())
        with gui.add_folder("New views"):
            self._button(
                "A view from where I stand", self._new_view, hint="Sampled to fit the finished ones", client=True
            )
            self._button("The field's own from here", self._field_view, client=True)
            self.view = gui.add_image(np.full((8, 8, 3), 245, np.uint8), visible=False)

    def _export_panel(self, out: Path) -> None:
        with self.server.gui.add_folder("Export"):
            self.out = self.server.gui.add_text("Folder", "", hint=f"Below {out}; empty for itself")
            self._button("Export", self._export)

    # ---- work, one piece at a time

    def _button(self, label: str, work: Callable[..., Any], client: bool = False, **options: Any) -> None:
        """A button whose work runs alone, with its client's camera where ``client`` says so."""
        button = self.server.gui.add_button(label, **options)
        button.on_click(
            lambda event: self.work(lambda: work(_stands(event, self.session.aspect)) if client else work())
        )

    def _with_client(self, label: str, act: Callable[[Cameras], None]) -> None:
        """A button that only moves cameras: it needs not wait for a sampling."""
        self.server.gui.add_button(label).on_click(
            lambda event: self._guarded(lambda: act(_stands(event, self.session.aspect)))
        )

    def work(self, piece: Callable[[], Any]) -> None:
        """Do it with the widgets' settings, or say that something else is being done."""
        if not self._busy.acquire(blocking=False):
            self.say("Something is being made already: wait for it, or press Stop.")
            return
        try:
            self.say("Working ...")
            self._guarded(lambda: self._with_settings(piece))
        finally:
            self._busy.release()

    def _guarded(self, act: Callable[[], Any]) -> None:
        """Whatever goes wrong is a message, and the viewer lives on."""
        try:
            act()
        except TuneMV3DError as error:
            self.say(f"**{error}**")
        except Exception as error:
            self.say(f"**This did not work: {type(error).__name__}: {error}**")

    def say(self, words: str) -> None:
        """Show a sentence above the widgets."""
        self.message.content = words

    def _with_settings(self, piece: Callable[[], Any]) -> None:
        self.session.settings = replace(
            self.session.settings,
            prompt=self.prompt.value,
            seed=int(self.seed.value),
            steps=int(self.steps.value),
            consistency=float(self.consistency.value),
            guidance=float(self.guidance.value),
        )
        piece()

    def _on_step(self, step: Step) -> None:
        """Show a step as soon as it is done."""
        began, steps = time.perf_counter(), self.session.settings.steps
        if self._drawn is not self.session.cameras:
            self._place_cameras()
        self.shown.max = max(1, steps - 1)
        self.shown.value = step.index
        self.progress.value = 100 * (step.index + 1) / steps
        every, last = int(self.every.value), step.index + 1 == steps
        self._show(step, surface=last or (every > 0 and step.index % every == 0))
        shown = time.perf_counter() - began
        self.say(
            f"Step {step.index + 1} of {steps}, t = {step.t:.0f}: {step.seconds:.2f} s a step, {shown:.2f} s to show."
            + (" Done." if last else "")
            + ("" if self._in_place else " The cameras were moved: Sample shows it from there.")
            + "".join(f" *{note}*." for note in self.session.notes)
        )

    def _chosen(self) -> None:
        """Show the step that the slider names."""
        index = int(self.shown.value)
        if 0 <= index < len(self.session.history):
            self._guarded(lambda: self._show(self.session.history[index], surface=not self._busy.locked()))

    @property
    def _in_place(self) -> bool:
        """Tell whether the cameras that are drawn are those that the object was sampled with."""
        return self._drawn is self.session.shown

    def _show(self, step: Step, surface: bool) -> None:
        latents = getattr(step, PICTURES[self.pictures.value])
        if latents is None or latents.shape[2] != step.latents.shape[2]:
            latents = step.latents
        if self._in_place:
            for frustum, picture in zip(self._frusta, self.session.pictures(latents), strict=True):
                frustum.image = _pixels(picture)
        if surface:
            self._show_surface(step)

    def _show_surface(self, step: Step) -> None:
        found = self.session.surface(step, RESOLUTION)
        if self._mesh is not None:
            self._mesh.remove()
            self._mesh = None
        if found is not None:
            self._mesh = self.server.scene.add_mesh_simple(
                "/surface", found.vertices, found.faces, color=(158, 152, 142), side="double"
            )

    def _new_view(self, camera: Cameras) -> None:
        self.session.add_views(camera, self._on_step)

    def _field_view(self, camera: Cameras) -> None:
        self.view.image = _pixels(self.session.render(camera))
        self.view.visible = True
        self.say("Below is what the field shows from where you stand.")

    def _export(self) -> None:
        below = self.out.value.strip()
        if below and (not is_inside(below) or leading_out(self._out, [self._out / below])):
            raise TuneMV3DError(f"'{shown(below)}' is no folder below {self._out}")
        self.say(f"Exported to `{export(self.session, self._out / below)}`.")

    # ---- cameras

    def _orbit(self) -> None:
        views, elevation, distance = int(self.count.value), float(self.elevation.value), float(self.distance.value)
        self.session.cameras = Cameras.orbit(views, elevation=elevation, distance=distance, aspect=self.session.aspect)
        self._place_cameras()

    def _add_camera(self, camera: Cameras) -> None:
        self.session.cameras = Cameras.cat([self.session.cameras, camera.check()])
        self._place_cameras()

    def _remove_camera(self) -> None:
        if self.session.cameras.shape[0] == 1:
            raise TuneMV3DError("the last camera stays: an object needs at least one view")
        self.session.cameras = self.session.cameras[:-1]
        self._place_cameras()

    def _place_cameras(self) -> None:
        """Draw the cameras of the next sampling."""
        for frustum in self._frusta:
            frustum.remove()
        self._frusta = []
        self._drawn = self.session.cameras
        cameras = self._drawn.to("cpu")
        for index in range(cameras.shape[0]):
            camera = cameras[index]
            fov = 2 * math.atan(0.5 / float(camera.intrinsics[1]))
            frustum = self.server.scene.add_camera_frustum(
                f"/cameras/{index}",
                fov,
                self.session.aspect,
                scale=0.26,
                color=ACCENT,
                cast_shadow=False,
                **_pose(camera),
            )
            self._frusta.append(frustum)
        self._place_handles()

    def _place_handles(self) -> None:
        """Put a handle on every camera where they are dragged; else none."""
        for handle in self._handles:
            handle.remove()
        assert self._drawn is not None
        count = self._drawn.shape[0] if self.drag.value else 0
        self._handles = [self._handle(index, self._drawn[index]) for index in range(count)]

    def _handle(self, index: int, camera: Cameras) -> Any:
        """A handle that moves a camera; it goes on looking at the object."""
        handle = self.server.scene.add_transform_controls(
            f"/handles/{index}", scale=0.25, disable_rotations=True, position=tuple(camera.origins.tolist())
        )

        def moved(_: Any) -> None:
            eye = torch.tensor(handle.position, dtype=torch.float32)
            cameras = self.session.cameras
            placed = Cameras.look_at(eye, aspect=self.session.aspect).check()
            self._drawn = Cameras.cat([cameras[:index], placed[None], cameras[index + 1 :]])
            self.session.cameras = self._drawn
            for name, value in _pose(placed).items():
                setattr(self._frusta[index], name, value)

        handle.on_update(lambda event: self._guarded(lambda: moved(event)))
        return handle


def _stands(event: Any, aspect: float) -> Cameras:
    """A camera (shape ``(1,)``) where the reader stands, which looks at the object."""
    if event.client is None:
        raise TuneMV3DError("no browser is connected")
    eye = torch.tensor(np.asarray(event.client.camera.position), dtype=torch.float32)
    return Cameras.look_at(eye[None], aspect=aspect)


def _pose(camera: Cameras) -> dict[str, Any]:
    rotation = viser.transforms.SO3.from_matrix(camera.camera_to_world[:3, :3].numpy().astype(np.float64))
    return {"wxyz": rotation.wxyz, "position": camera.origins.numpy()}


def _pixels(picture: torch.Tensor) -> NDArray[np.uint8]:
    """``3 H W`` in [0, 1] as viser takes it."""
    return (picture.movedim(0, -1).numpy() * 255).round().astype(np.uint8)
