"""The viewer's window: its widgets work the session, and whatever is wrong is a message."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import show_toys as toys
import torch
from show_browser import Browser, needs_chromium

pytest.importorskip("viser", reason="the extra `view` is not installed")
pytest.importorskip("skimage", reason="the extra `view` is not installed")

import viser

from tunemv3d_core.cameras import Cameras
from tunemv3d_show.gui import Viewer
from tunemv3d_show.session import Session


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield Viewer(Session.of(toys.ball_model(), toys.SPEC, "ball"), server, tmp_path / "out")
    server.stop()


def test_sampling_shows_views_surface_and_the_time_of_a_step(viewer: Viewer) -> None:
    viewer.prompt.value = "a ball"
    viewer.work(lambda: viewer.session.start(viewer._on_step))
    assert viewer.session.finished and viewer.session.made.prompt == "a ball"
    assert "Step 5 of 5" in viewer.message.content and "s a step" in viewer.message.content
    assert viewer.progress.value == 100 and viewer.shown.value == 4
    assert len(viewer._frusta) == 4 and all(f.image is not None for f in viewer._frusta)
    assert viewer._mesh is not None
    viewer.drag.value = True
    viewer._place_handles()
    assert len(viewer._handles) == 4 and all(f.image is not None for f in viewer._frusta)
    earlier = viewer._frusta[0].image.copy()
    viewer.shown.value, viewer.pictures.value = 0, "what the model saw"
    viewer._chosen()
    assert (viewer._frusta[0].image != earlier).any()


def test_bad_input_is_a_message_and_the_viewer_lives_on(viewer: Viewer) -> None:
    start = viewer.session.start
    viewer.prompt.value = " "
    viewer.work(start)
    assert "prompt is empty" in viewer.message.content
    viewer.work(lambda: 1 / 0)
    assert "ZeroDivisionError" in viewer.message.content
    viewer._guarded(lambda: viewer._add_camera(Cameras.look_at(torch.tensor([[0.2, 0.0, 0.0]]))))
    assert "inside" in viewer.message.content and len(viewer._frusta) == 4
    viewer.prompt.value = "a ball"
    viewer.work(lambda: viewer.work(start))
    assert "already" in viewer.message.content and not viewer.session.history
    viewer.work(start)
    assert viewer.session.finished


def test_cameras_are_set_added_dragged_and_removed(viewer: Viewer) -> None:
    viewer.count.value, viewer.elevation.value = 3, 40.0
    viewer._orbit()
    expected = Cameras.orbit(3, elevation=40.0)
    assert torch.allclose(viewer.session.cameras.camera_to_world, expected.camera_to_world)
    viewer._add_camera(Cameras.look_at(torch.tensor([[0.0, 0.0, 3.0]])))
    viewer.drag.value = True
    viewer._place_handles()
    assert len(viewer._frusta) == len(viewer._handles) == 4
    handle = viewer._handles[3]
    handle.position = (3.0, 0.0, 0.5)
    for moved in handle._impl_aux.update_cb:
        moved(SimpleNamespace(client=None))
    origin = viewer.session.cameras.origins[3]
    assert torch.allclose(origin, torch.tensor([3.0, 0.0, 0.5]))
    # It still looks at the object.
    forward = viewer.session.cameras.camera_to_world[3, :3, 2]
    assert torch.allclose(forward, -origin / origin.norm(), atol=1e-5)
    viewer._remove_camera()
    assert viewer.session.cameras.shape[0] == 3


def test_a_branch_goes_back_to_the_cameras_that_it_left(viewer: Viewer) -> None:
    viewer.work(lambda: viewer.session.start(viewer._on_step))
    viewer.count.value = 2
    viewer._orbit()
    viewer.work(lambda: viewer.session.branch(2, viewer._on_step))
    assert viewer.session.finished and len(viewer._frusta) == 4 and viewer._in_place


def press(browser: Browser, label: str) -> None:
    button = f"[...document.querySelectorAll('button')].find(b => b.textContent.trim() === {json.dumps(label)})"
    browser.wait_for(f"{button} !== undefined")
    browser.run(f"{button}.click()")


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


@needs_chromium
@pytest.mark.slow
def test_a_person_samples_adds_a_view_and_exports_in_the_browser(viewer: Viewer, tmp_path: Path) -> None:
    with Browser() as browser:
        browser.open(f"http://127.0.0.1:{viewer.server.get_port()}/")
        said = "document.body.innerText.includes"
        press(browser, "Sample")
        browser.wait_for(f"{said}('Step 5 of 5')")
        # It says so before it takes the next piece of work, and would refuse a click in between.
        browser.wait_for(f"{said}('Done')")
        wait_until(lambda: not viewer._busy.locked())
        press(browser, "The field's own from here")
        wait_until(lambda: viewer.view.visible and not viewer._busy.locked())
        browser.wait_for("document.querySelectorAll('img').length > 0")
        press(browser, "A view from where I stand")
        wait_until(lambda: viewer.session.shown.shape[0] == 5 and viewer.session.finished and not viewer._busy.locked())
        press(browser, "Export")
        browser.wait_for(f"{said}('Exported to')")
        assert browser.errors == []
    manifest = json.loads(next((tmp_path / "out").glob("*/manifest.json")).read_text())
    assert len(manifest["files"]["views"]) == 5
    assert viewer.session.shown.shape[0] == 5


@pytest.mark.parametrize("folder", ["..", "../other", "/tmp/other", "~/x", "a/../../b", "C:\\x", "a\nb"])
def test_nothing_is_exported_outside_the_folder_that_was_named(viewer: Viewer, tmp_path: Path, folder: str) -> None:
    before = set(tmp_path.rglob("*"))
    viewer.out.value = folder
    viewer._guarded(viewer._export)
    if folder == "~/x":  # a letter as any other
        assert "only a finished object" in viewer.message.content
    else:
        assert "is no folder below" in viewer.message.content
    assert set(tmp_path.rglob("*")) == before
