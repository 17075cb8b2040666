"""Orders over HTTP: their order, their limits, cancelling, failing, and what is kept of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from serve_toys import Work, client_of, ended, folders, order, wait_for

from tunemv3d_serve.jobs import JobQueue


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def queue(work: Work, tmp_path: Path) -> Iterator[JobQueue]:
    queue = JobQueue(work, tmp_path, waiting=3, keep=2)
    yield queue
    queue.close()


def running(queue: JobQueue) -> bool:
    return any(job.state == "running" for job in queue.all())


def test_jobs_are_done_in_the_order_they_came_and_a_full_queue_refuses(queue: JobQueue, work: Work) -> None:
    client = client_of(queue)
    jobs = [order(client, "0")]
    wait_for(lambda: running(queue))
    jobs += [order(client, str(number)) for number in (1, 2, 3)]
    assert [client.get(f"/jobs/{job}").json()["before"] for job in jobs] == [0, 1, 2, 3]
    answer = client.post("/jobs", json={"prompt": "4"})
    assert answer.status_code == 429 and "3 jobs are waiting" in answer.json()["error"]
    work.gate.set()
    assert ended(client, jobs[-1])["state"] == "done"
    assert work.done == ["0", "1", "2", "3"]


def test_waiting_and_running_jobs_can_be_cancelled_and_the_others_go_on(
    queue: JobQueue, work: Work, tmp_path: Path
) -> None:
    client = client_of(queue)
    first = order(client, "first")
    wait_for(lambda: running(queue))
    second, third = order(client, "second"), order(client, "third")
    assert client.delete(f"/jobs/{second}").json()["state"] == "cancelled"
    client.delete(f"/jobs/{first}")
    assert ended(client, first)["state"] == "cancelled"
    work.gate.set()
    assert ended(client, third)["state"] == "done"
    assert work.done == ["third"] and folders(tmp_path) == {third}


def test_only_the_latest_results_are_kept_and_an_ended_job_can_be_removed(
    queue: JobQueue, work: Work, tmp_path: Path
) -> None:
    client = client_of(queue)
    work.gate.set()
    jobs = []
    for number in range(4):
        jobs.append(order(client, str(number)))
        wait_for(lambda: queue.find(jobs[-1]).ended)
    assert [job["id"] for job in client.get("/jobs").json()] == jobs[2:] and folders(tmp_path) == set(jobs[2:])
    answer = client.get(f"/jobs/{jobs[0]}/manifest.json")
    assert answer.status_code == 404 and "no such job" in answer.json()["error"]
    assert client.get(f"/jobs/{jobs[3]}/manifest.json").json() == {}
    client.delete(f"/jobs/{jobs[3]}")
    assert client.get(f"/jobs/{jobs[3]}").status_code == 404 and folders(tmp_path) == {jobs[2]}


def test_a_failure_is_that_jobs_alone_and_tells_clients_nothing_of_the_machine(queue: JobQueue, work: Work) -> None:
    client = client_of(queue)
    work.gate.set()
    broken, whole = order(client, "break"), order(client, "whole")
    told = ended(client, broken)
    assert told["state"] == "failed" and "RuntimeError" in told["error"] and "/home" not in told["error"]
    assert told["files"] == [] and ended(client, whole)["state"] == "done"


def test_closing_ends_the_job_at_work(work: Work, tmp_path: Path) -> None:
    queue = JobQueue(work, tmp_path)
    client = client_of(queue)
    order(client)
    wait_for(lambda: running(queue))
    queue.close()
    assert [job.state for job in queue.all()] == ["cancelled"] and not queue._thread.is_alive()


BAD = {
    "empty": ({"prompt": " "}, "prompt is empty"),
    "missing": ({}, "prompt: Field required"),
    "long": ({"prompt": "a" * 501}, "prompt: String should have at most 500"),
    "many steps": ({"prompt": "a", "steps": 201}, "steps: Input should be less"),
    "a word for a number": ({"prompt": "a", "steps": "9"}, "steps: Input should be a valid integer"),
    "yes for a number": ({"prompt": "a", "seed": True}, "seed: Input should be a valid integer"),
    "seed": ({"prompt": "a", "seed": 2**32}, "seed: Input should be less"),
    "views": ({"prompt": "a", "views": 0}, "views: Input should be greater"),
    "unknown": ({"prompt": "a", "out": "/etc"}, "out: Extra inputs"),
    "mesh": ({"prompt": "a", "mesh": True}, "mesh: this server makes no meshes"),
    "list": ([], "the body: Input should be"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_sampled_is_refused_in_one_sentence(queue: JobQueue, name: str) -> None:
    body, expected = BAD[name]
    answer = client_of(queue).post("/jobs", json=body)
    assert answer.status_code == 422 and list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(expected.split()[0]) or expected in answer.json()["error"]
    assert expected in answer.json()["error"] and "\n" not in answer.json()["error"]
    assert queue.all() == []


@pytest.mark.parametrize(
    "body", [b"{", b'{"prompt": "\\ud800"}', b'{"prompt": "a", "steps": NaN}', b"[" * 60000, b"\xff"]
)
def test_bytes_that_are_no_order_are_refused(queue: JobQueue, body: bytes) -> None:
    answer = client_of(queue).post("/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422) and list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    "path", ["/jobs/../about/x", "/jobs/none", "/jobs/none/views.png", "/jobs/none/%2e%2e%2fx", "/x"]
)
def test_what_is_not_there_is_404_in_a_sentence(queue: JobQueue, path: str) -> None:
    answer = client_of(queue).get(path)
    assert answer.status_code == 404 and list(answer.json()) == ["error"]


def test_names_are_looked_up_and_never_paths(queue: JobQueue, work: Work, tmp_path: Path) -> None:
    client = client_of(queue)
    work.gate.set()
    job = order(client)
    ended(client, job)
    (tmp_path / job / "other.json").write_text("{}")
    for name in ("other.json", "..%2f" + job + "%2fmanifest.json", "%2fetc%2fpasswd"):
        assert client.get(f"/jobs/{job}/{name}").status_code == 404
