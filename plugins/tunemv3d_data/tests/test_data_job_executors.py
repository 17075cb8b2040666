"""Workers may die, hang or fail: it costs the object that they were at; and shards share a folder."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from job_stand_ins import Sabotage, Sabotaged, boxes, pictures
from typer.testing import CliRunner

from tunemv3d_core.cli.main import app
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.posed_images import read_manifest
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.rendering.executors import Executor, Here, Lost, Processes, RayCluster
from tunemv3d_data.rendering.job import run_job
from tunemv3d_data.rendering.settings import JobShard, RenderJob


def named(*ids: str) -> list[SourceObject]:
    return [SourceObject(id_, Path("nowhere")) for id_ in ids]


def executors() -> list[Any]:
    return [pytest.param("processes"), pytest.param("ray", marks=pytest.mark.slow)]


@pytest.fixture(params=executors())
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    return Processes(2, 3.0) if request.param == "processes" else local_ray(monkeypatch)


def local_ray(monkeypatch: pytest.MonkeyPatch) -> RayCluster:
    """A cluster of this machine whose workers find this folder's stand-ins."""
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return RayCluster(2, 30.0)


@pytest.mark.slow
def test_only_the_object_that_kills_its_worker_is_lost(executor: Executor) -> None:
    ids = ("a", "segfault", "b", "oom", "c", "hang", "d", "e")
    outcomes = {source.id: outcome for source, outcome in executor.run(Sabotage(), named(*ids))}
    assert set(outcomes) == set(ids)
    lost = {id_: outcome.cause for id_, outcome in outcomes.items() if isinstance(outcome, Lost)}
    assert lost == {"segfault": "worker died", "oom": "worker died", "hang": "time limit"}
    assert os.getpid() not in {outcome[1] for outcome in outcomes.values() if not isinstance(outcome, Lost)}


@pytest.mark.slow
def test_an_error_of_the_folder_ends_the_work(executor: Executor) -> None:
    with pytest.raises(DatasetError, match="the disk is full"):
        list(executor.run(Sabotage(), named("disk", "a", "b", "c")))


@pytest.mark.slow
def test_objects_are_taken_only_as_workers_get_free() -> None:
    """A window over the objects: of 60, never more than four are taken beyond those that came back."""
    taken = finished = 0

    def counted() -> Iterator[SourceObject]:
        nonlocal taken
        for source in named(*map(str, range(60))):
            taken += 1
            assert taken - finished <= 4 + 2, "the window, and those that came back together"
            yield source

    for _ in Processes(2, 60.0).run(Sabotage(), counted()):
        finished += 1
    assert finished == 60


@pytest.mark.slow
def test_a_job_goes_on_after_crashes_and_names_them(tmp_path: Path) -> None:
    sources = boxes(tmp_path / "meshes", 5)
    bad = [SourceObject(name, sources[0].path) for name in ("segfault", "hang")]
    job = RenderJob(tmp_path / "out", views=2, size=(16, 16))
    report = run_job(job, [*sources[:2], *bad, *sources[2:]], Sabotaged(Processes(2, 10.0)))
    assert report.counts() == {"rendered": 5, "kept": 0, "refused": 0, "failed": 2}
    assert "signal 11" in report.of("failed")[0].reason and "--limit" in report.of("failed")[1].reason
    assert read_json(job.out / "report.json")["causes"] == {"time limit": 1, "worker died": 1}
    assert list(read_manifest(job.out)) == [source.id for source in sources]


@pytest.mark.slow
def test_workers_shards_and_order_leave_the_same_bytes(tmp_path: Path) -> None:
    sources = [*boxes(tmp_path / "meshes", 5), SourceObject("broken", tmp_path / "none.glb")]
    options: dict[str, Any] = {"views": 2, "size": (16, 16), "variants": 1, "held_out": frozenset({"box-01"})}
    job = RenderJob(tmp_path / "a" / "out", **options)
    run_job(job, sources)
    first = pictures(job.out)
    assert not any(".unfinished" in name or name.endswith(".part") for name in first)
    shared = RenderJob(tmp_path / "b" / "out", **options)
    run_job(shared, sources[::-1], Processes(2, 60.0))
    assert pictures(shared.out) == first
    parts = RenderJob(tmp_path / "c" / "out", **options)
    for index in (2, 0, 1):
        run_job(parts, sources, shard=JobShard(index, 3))
    assert pictures(parts.out) == first


@pytest.mark.slow
def test_ray_leaves_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [*boxes(tmp_path / "meshes", 3), SourceObject("broken", tmp_path / "none.glb")]
    here, there = (RenderJob(tmp_path / name / "out", views=2, size=(16, 16)) for name in "ab")
    run_job(here, sources)
    report = run_job(there, sources, local_ray(monkeypatch))
    assert report.counts() == {"rendered": 3, "kept": 0, "refused": 0, "failed": 1} and report.peak > 50e6
    assert pictures(there.out) == pictures(here.out)


def test_a_shard_that_ends_during_another_ones_writing_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow shard lists the objects, the quick one finishes and describes all, the slow one writes over it."""
    import tunemv3d_data.rendering.manifest as manifest

    sources = boxes(tmp_path / "meshes", 2)
    job = RenderJob(tmp_path / "out", views=2, size=(16, 16))
    write = manifest.write_manifest

    def slow(*arguments: Any, **options: Any) -> None:
        monkeypatch.undo()
        write(*arguments, **options)
        run_job(job, sources, shard=JobShard(1, 2))

    monkeypatch.setattr(manifest, "write_manifest", slow)
    run_job(job, sources, shard=JobShard(0, 2))
    assert list(read_manifest(job.out)) == ["box-00", "box-01"]
    assert read_json(job.out / "report.json")["rendered"] == 2


def test_progress_counts_kept_objects_at_once(tmp_path: Path) -> None:
    sources = boxes(tmp_path / "meshes", 4)
    job = RenderJob(tmp_path / "out", views=2, size=(16, 16))
    run_job(job, sources[:3])
    seen: list[tuple[int, int]] = []
    run_job(job, sources, Here(), progress=lambda finished, of: seen.append((finished, of)))
    assert seen == [(3, 4), (4, 4)]


COMMAND = "import sys; from tunemv3d_core.cli.main import main; main()"


def arguments(source: Path, out: Path, workers: int) -> list[str]:
    options = {"--out": out, "--views": 4, "--resolution": 48, "--workers": workers, "--renderer": "embree"}
    return ["data", "render", str(source), *(str(word) for option in options.items() for word in option)]


def finish(source: Path, out: Path) -> None:
    """The command without any other process, to its end; one object of these cannot be read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tunemv3d_data.rendering.executors.Processes", lambda *given: Here())
        done = CliRunner().invoke(app, arguments(source, out, 1))
    assert "broken" in done.output, done.output


def start(source: Path, out: Path, workers: int) -> "subprocess.Popen[str]":
    """The command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments(source, out, workers)],
        **{"start_new_session": True, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE},
    )


def wait_for_objects(out: Path, count: int, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 120
    while len(list(out.glob("objects/*"))) < count and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Killed as it begins, and killed again after it went on: a third time would be the second once more."""
    boxes(tmp_path / "meshes", 30)
    (tmp_path / "meshes" / "broken.glb").write_bytes(b"no")
    whole, killed = tmp_path / "a" / "out", tmp_path / "b" / "out"
    finish(tmp_path / "meshes", whole)
    draw = random.Random(0)
    for count in (1, 9, 20):
        process = start(tmp_path / "meshes", killed, 2)
        wait_for_objects(killed, count, process)
        time.sleep(draw.uniform(0, 0.03))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert len(list(killed.glob("objects/*"))) < 30
    finish(tmp_path / "meshes", killed)
    assert pictures(killed) == pictures(whole) and len(read_manifest(whole)) == 30


@pytest.mark.slow
def test_ctrl_c_is_not_for_workers_that_just_start(tmp_path: Path) -> None:
    boxes(tmp_path / "meshes", 4)
    process = start(tmp_path / "meshes", tmp_path / "out", 2)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("out/.unfinished/*")) and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(1.0)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    boxes(tmp_path / "meshes", 300)
    process = start(tmp_path / "meshes", tmp_path / "out", 2)
    wait_for_objects(tmp_path / "out", 2, process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "goes on from there" in errors and "Traceback" not in errors
    finished = {path.name for path in (tmp_path / "out" / "objects").iterdir()}
    assert 2 <= len(finished) < 300 and set(read_manifest(tmp_path / "out")) == finished
    assert not (tmp_path / "out" / ".unfinished").exists()
