"""A server around a stand-in checkpoint or around work that waits for the test."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import show_toys as toys
from fastapi.testclient import TestClient

from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_serve.app import create_app
from tunemv3d_serve.jobs import Job, JobQueue
from tunemv3d_serve.sampler import ObjectSampler

BALL = LoadedCheckpoint("ball", toys.SPEC, toys.ball_model(), {})
LOCAL = "http://127.0.0.1:7860"


class Work:
    """A job's work that lasts until the test lets it end."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.gate = threading.Event()

    def __call__(self, job: Job) -> None:
        job.folder.mkdir()
        (job.folder / "manifest.json").write_text("{}")
        while not self.gate.wait(0.01):
            job.go_on()
        if job.order.prompt == "break":
            raise RuntimeError("a secret of /home/me")
        self.done.append(job.order.prompt)
        job.files = {"manifest.json": job.folder / "manifest.json"}


def client_of(
    queue: JobQueue, sampler: ObjectSampler | None = None, host: str = "127.0.0.1", token: str = ""
) -> TestClient:
    return TestClient(create_app(sampler or ObjectSampler(BALL), queue, host, token), base_url=LOCAL)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)


def order(client: TestClient, prompt: str = "a ball", **options: object) -> str:
    answer = client.post("/jobs", json={"prompt": prompt, **options})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def ended(client: TestClient, job: str, seconds: float = 20) -> dict:
    wait_for(lambda: client.get(f"/jobs/{job}").json()["state"] in ("done", "failed", "cancelled"), seconds)
    return client.get(f"/jobs/{job}").json()


def folders(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}
