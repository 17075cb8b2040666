"""From an order to its files, with a stand-in checkpoint; and what does not come out."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import show_toys as toys
import torch
from PIL import Image
from serve_toys import BALL, client_of, ended, order

from tunemv3d_core.additions import Additions
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.io.samples import read_sample
from tunemv3d_core.sampling import sample
from tunemv3d_serve.jobs import Job, JobQueue
from tunemv3d_serve.order import Order
from tunemv3d_serve.sampler import ObjectSampler


@pytest.fixture(scope="module")
def sampler() -> ObjectSampler:
    return ObjectSampler.of(BALL, Additions(loras=("/home/me/soft.safetensors:0.5",)))


@pytest.fixture
def queue(sampler: ObjectSampler, tmp_path: Path) -> Iterator[JobQueue]:
    queue = JobQueue(sampler, tmp_path / "jobs")
    yield queue
    queue.close()


def picture(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_an_order_comes_to_what_core_samples(queue: JobQueue, sampler: ObjectSampler, tmp_path: Path) -> None:
    client = client_of(queue, sampler)
    job = order(client, "a red ball", seed=3, steps=4, guidance=2.5, consistency=0.5, views=3, negative="blue")
    told = ended(client, job)
    assert told["state"] == "done" and (told["step"], told["steps"], told["before"]) == (4, 4, 0)
    assert [file.rpartition("/")[2] for file in told["files"]] == ["views.png", "manifest.json", "object.zip"]
    assert picture(client.get(f"/jobs/{job}/views.png").content).size == (3 * toys.SIZE, toys.SIZE)
    zipfile.ZipFile(io.BytesIO(client.get(f"/jobs/{job}/object.zip").content)).extractall(tmp_path / "got")
    made = read_sample(next((tmp_path / "got").iterdir()))
    encode = BALL.model.backbone.encode_text
    options = SampleSpec(steps=4, guidance=2.5, consistency=0.5)
    cameras = Cameras.orbit(3, elevation=20)
    expected = sample(BALL.model, encode(["a red ball"]), cameras[None], [3], options, negative=encode(["blue"]))
    assert torch.equal(made.latents, expected[0])
    manifest = client.get(f"/jobs/{job}/manifest.json").json()
    assert manifest["negative_prompt"] == "blue" and manifest["loras"] == ["soft.safetensors:0.5"]
    assert str(tmp_path) not in json.dumps(manifest) + json.dumps(told) and "/home" not in json.dumps(manifest)


def test_what_is_left_out_is_the_checkpoints(queue: JobQueue, sampler: ObjectSampler) -> None:
    client = client_of(queue, sampler)
    about = client.get("/about").json()
    assert (about["checkpoint"], about["steps"], about["views"], len(about["spec_id"])) == ("ball", 5, 4, 64)
    job = order(client)
    assert ended(client, job)["steps"] == 5
    manifest = client.get(f"/jobs/{job}/manifest.json").json()
    assert (manifest["guidance_scale"], manifest["consistency"], manifest["views"]) == (2.0, 1.0, 4)
    assert manifest["spec_id"] == about["spec_id"]


@pytest.mark.slow
def test_a_mesh_is_the_balls(queue: JobQueue, sampler: ObjectSampler) -> None:
    trimesh = pytest.importorskip("trimesh")
    client = client_of(queue, sampler)
    assert client.get("/about").json()["meshes"]
    job = order(client, "a ball", mesh=True)
    assert ended(client, job, seconds=240)["error"] == ""
    content = client.get(f"/jobs/{job}/object.glb").content
    ball = trimesh.load(io.BytesIO(content), file_type="glb", force="mesh")
    radii = ((ball.vertices - ball.bounds.mean(0)) ** 2).sum(1) ** 0.5
    assert radii.std() < 0.02 * radii.mean()
    assert f"/jobs/{job}/object.glb" in client.get(f"/jobs/{job}").json()["files"]


def test_pictures_and_steps_are_seen_while_sampling_and_a_cancelled_job_ends_after_its_step(
    sampler: ObjectSampler, tmp_path: Path
) -> None:
    seen: list[tuple[int, bool]] = []

    class Watched(Job):
        def go_on(self) -> None:
            seen.append((self.step, bool(self.picture)))
            if self.step == 2:
                self.stop.set()
            super().go_on()

    def work(job: Job) -> None:
        watched = Watched(job.order, job.steps, job.folder)
        sampler(watched)

    queue = JobQueue(work, tmp_path)
    client = client_of(queue, sampler)
    assert ended(client, order(client))["state"] == "cancelled"
    assert seen == [(1, True), (2, True)] and list(tmp_path.iterdir()) == []
    queue.close()


def test_a_checkpoint_without_a_shape_says_so_when_a_mesh_is_ordered(tmp_path: Path) -> None:
    flat = ObjectSampler.of(replace(BALL, model=toys.ball_model(field=False)), Additions())
    queue = JobQueue(flat, tmp_path)
    client = client_of(queue, flat)
    assert not client.get("/about").json()["meshes"]
    answer = client.post("/jobs", json={"prompt": "a ball", "mesh": True})
    assert answer.status_code == 422 and "no surface" in answer.json()["error"]
    assert ended(client, order(client))["state"] == "done"
    queue.close()


def test_numbers_that_are_not_finite_are_a_failed_job_and_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toys.ball_model()
    sampler = ObjectSampler.of(replace(BALL, model=model), Additions())
    queue = JobQueue(sampler, tmp_path)
    client = client_of(queue, sampler)
    whole = model.backbone.decode
    with monkeypatch.context() as patched:
        patched.setattr(model.backbone, "decode", lambda *given: whole(*given) * float("nan"))
        told = ended(client, order(client))
    assert told["state"] == "failed" and "not finite" in told["error"] and "step 1 of 5" in told["error"]
    assert ended(client, order(client))["state"] == "done"
    queue.close()


def test_an_order_takes_what_the_page_gives() -> None:
    names = ("prompt", "negative", "seed", "steps", "guidance", "consistency", "views", "mesh")
    assert tuple(Order.model_fields) == names
