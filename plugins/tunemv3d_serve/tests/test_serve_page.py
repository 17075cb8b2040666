"""Both pages in a browser: an order from the form to its pictures, a refusal, and a stop."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import show_toys as toys
import uvicorn
from fastapi import FastAPI
from serve_toys import BALL, wait_for
from show_axe import needs_axe, serious
from show_browser import Browser, needs_chromium

from tunemv3d_core.io.sample_files import FinishedObject
from tunemv3d_core.slots import TexturedMesh
from tunemv3d_serve.app import add_plain_page, create_app
from tunemv3d_serve.jobs import Job, JobQueue
from tunemv3d_serve.sampler import MESH, ObjectSampler

pytestmark = [pytest.mark.slow, needs_chromium]
TOKEN = "abcdefgh12345678"
BUTTON = "[...document.querySelectorAll('button')].find((b) => b.textContent.trim() === '{}')"


class BallSampler(ObjectSampler):
    """Its meshes are balls, made at once."""

    def _add_mesh(self, job: Job, made: Path, finished: FinishedObject) -> None:
        (made / MESH).write_bytes(toys.textured_ball(0.5))


def unused(*given: object) -> TexturedMesh:
    raise AssertionError("balls need no mesher")


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[JobQueue]:
    """Samples at once; an order of "slowly" lasts until it is stopped."""
    sampler = BallSampler(BALL, mesher=unused)

    def work(job: Job) -> None:
        if job.order.prompt == "slowly":
            job.stop.wait(60)
        sampler(job)

    queue = JobQueue(work, tmp_path)
    yield queue
    queue.close()


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    yield f"http://127.0.0.1:{port}/?token={TOKEN}"
    server.should_exit = True
    thread.join(20)


def says(browser: Browser, words: str) -> None:
    browser.wait_for(f"document.body.innerText.includes({words!r})", seconds=30)


def press(browser: Browser, label: str) -> None:
    browser.wait_for(f"{BUTTON.format(label)} !== undefined", seconds=30)
    browser.run(f"{BUTTON.format(label)}.click()")


@needs_axe
def test_the_plain_page_orders_shows_refuses_and_stops(queue: JobQueue, tmp_path: Path) -> None:
    app = create_app(ObjectSampler(BALL), queue, token=TOKEN)
    add_plain_page(app)
    with served(app) as address, Browser() as browser:
        browser.open(address)
        says(browser, "ball, spec")
        assert browser.run("location.search") == ""
        browser.run("form.elements.steps.value = 3")
        press(browser, "Sample")
        says(browser, "object.zip")
        browser.wait_for("document.getElementById('views').naturalWidth === 64")
        assert browser.errors == []
        browser.run("form.elements.prompt.value = 'slowly'")
        press(browser, "Sample")
        wait_for(lambda: len(queue.all()) == 2)
        browser.wait_for("!document.getElementById('stop').disabled")
        press(browser, "Stop")
        says(browser, "stopped")
        browser.run("form.elements.prompt.value = ' '")
        press(browser, "Sample")
        says(browser, "prompt is empty")
        assert serious(browser) == []
    assert [job.state for job in queue.all()] == ["done", "cancelled"]


@needs_axe
def test_gradios_page_orders_and_shows(queue: JobQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gradio", reason="the extra `page` is not installed")
    from tunemv3d_serve.page import add_page

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "page"))
    sampler = BallSampler(BALL, mesher=unused)
    with served(add_page(create_app(sampler, queue, token=TOKEN), sampler, queue)) as address, Browser() as browser:
        browser.open(address)
        says(browser, "Say what to make")
        press(browser, "Sample")
        says(browser, "Done: ")
        browser.wait_for("[...document.images].some((i) => i.naturalWidth === 64)")
        browser.wait_for("document.querySelector('canvas')?.clientWidth > 0")
        browser.wait_for("performance.getEntriesByType('resource').some((r) => r.name.endsWith('object.glb'))")
        # gradio's own: its picture's button has no name, its viewer's canvas comes first by the keyboard.
        left = [line for line in serious(browser) if line.partition(":")[0] not in ("button-name", "tabindex")]
        assert left == []
    assert [job.state for job in queue.all()] == ["done"]
