"""Sources and folders that somebody spoilt, by intent or not: one message each, and the others go on."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from job_stand_ins import Sabotage, boxes, pictures
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.commands import app
from tunemv3d_data.meshes.checks import check_file
from tunemv3d_data.meshes.mesh import load_mesh
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.rendering import executors
from tunemv3d_data.rendering.executors import Lost, Processes
from tunemv3d_data.rendering.job import run_job
from tunemv3d_data.rendering.settings import RenderJob
from tunemv3d_data.sources.reading import read_sources

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


def problem_of(entry: SourceObject) -> str:
    try:
        load_mesh(entry)
    except DatasetError as error:
        return str(error)
    return ""


def test_links_pipes_and_foreign_names_are_listed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "outside").mkdir()
    for path in (source / "ok.obj", tmp_path / "outside" / "secret.obj", source / os.fsdecode(b"bad\xff.obj")):
        path.write_text(TRIANGLE)
    (source / "link.obj").symlink_to(tmp_path / "outside" / "secret.obj")
    (source / "round.obj").symlink_to("round.obj")
    (source / "folder").symlink_to(tmp_path / "outside")
    (source / "inside.obj").symlink_to("ok.obj")
    os.mkfifo(source / "pipe.obj")
    problems = {entry.id: problem_of(entry) for entry in read_sources(source)}
    assert problems["ok"] == problems["inside"] == ""
    assert "leads out of the source" in problems["link"] and "no plain file" in problems["pipe"]
    assert "link to a folder" in problems["folder"] and "not UTF-8" in problems["bad"]
    assert "leads to itself" in problems["round"] or "symbolic links" in problems["round"]
    assert len(problems) == 7
    report = run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), read_sources(source))
    assert report.counts()["rendered"] == 2
    assert str(tmp_path) not in (tmp_path / "out" / "report.json").read_text()


def test_a_texture_with_an_impossible_name_costs_the_texture_alone(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nusemtl paint\n" + TRIANGLE)
    (tmp_path / "a.mtl").write_text(f"newmtl paint\nKd 1 0 0\nmap_Kd {'x' * 5000}.png\n")
    report = run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), read_sources(tmp_path))
    assert [result.status for result in report.results] == ["rendered"]


def test_a_catalogue_with_words_for_numbers_costs_that_object_alone(tmp_path: Path) -> None:
    text = "model#1=/a.obj\nheight#1=high\nmodel#2=/b.obj\nmodelRotation#2=1 0 0 0 nan 0 0 0 1\n"
    text += "model#3=/c.obj\nheight#3=9\n"
    with zipfile.ZipFile(tmp_path / "x.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", text)
        for name in "abc":
            archive.writestr(f"{name}.obj", TRIANGLE)
    problems = [problem_of(entry) for entry in read_sources(tmp_path / "x.sh3f")]
    assert "height is 'high'" in problems[0] and "modelRotation" in problems[1] and problems[2] == ""


def test_annotations_of_the_wrong_kind_are_passed_over(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "glbs" / "000-000").mkdir(parents=True)
    (tmp_path / "metadata").mkdir()
    for uid in "ab":
        (tmp_path / "glbs" / "000-000" / f"{uid}.glb").write_bytes(b"")
    with gzip.open(tmp_path / "metadata" / "000-000.json.gz", "wt") as file:
        json.dump({"a": 5, "b": {"user": "me", "tags": 7, "name": "box"}}, file)
    with gzip.open(tmp_path / "lvis-annotations.json.gz", "wt") as file:
        json.dump({"chair": 5, "big_box": ["b"]}, file)
    assert [(entry.name, entry.kind) for entry in read_sources(tmp_path)] == [("", ""), ("box", "big box")]


def test_comments_of_an_off_file_are_read_at_once() -> None:
    start = time.monotonic()
    check_file(b"OFF\n" + b"# " * 4000 + b"x\n3 1 0\n", ".off")
    check_file(b"OFF " + b"# " * 40 + b"\n" + b"# " * 4000, ".off")
    assert time.monotonic() - start < 1


def test_names_of_windows_devices_are_refused(tmp_path: Path) -> None:
    (box,) = boxes(tmp_path / "meshes", 1)
    names = ("con", "NUL", "com1", "console")
    report = run_job(RenderJob(tmp_path / "out", views=2, size=(16, 16)), [SourceObject(n, box.path) for n in names])
    assert [result.status for result in report.results] == ["refused", "refused", "refused", "rendered"]


@pytest.mark.parametrize("content", ['{"objects": [1, 2]}', '{"settings": null}', '{"settings": 5}'])
def test_the_dataset_of_another_program_is_left_alone(tmp_path: Path, content: str) -> None:
    boxes(tmp_path / "meshes", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "dataset.json").write_text(content)
    outcome = CliRunner().invoke(app, ["render", str(tmp_path / "meshes"), "--out", str(tmp_path / "out")])
    assert isinstance(outcome.exception, DatasetError) and "--out" in str(outcome.exception)
    assert pictures(tmp_path / "out") == {"dataset.json": content.encode()}


def test_a_second_run_leaves_the_unfinished_work_of_one_that_lives(tmp_path: Path) -> None:
    sources = boxes(tmp_path / "meshes", 2)
    job = RenderJob(tmp_path / "out", views=2, size=(16, 16))
    remains = job.out / ".unfinished" / "0-of-1-killed"
    remains.mkdir(parents=True)
    second: list[list[str]] = []

    def progress(finished: int, of: int) -> None:
        if finished == 1 and not second:
            second.append([])
            second[0] = [result.status for result in run_job(job, sources[:1]).results]

    first = run_job(job, sources, progress=progress)
    assert [result.status for result in first.results] == ["rendered", "rendered"]
    assert second == [["kept"]] and not remains.exists()
    assert not (job.out / ".unfinished").exists()


@pytest.mark.slow
def test_no_more_processes_start_than_there_are_objects() -> None:
    sources = [SourceObject(name, Path("nowhere")) for name in "ab"]
    pids = {outcome[1] for _, outcome in Processes(100, 60.0).run(Sabotage(), sources)}  # type: ignore[index]
    assert 1 <= len(pids) <= 2


ORPHANS = """
import sys
from pathlib import Path
from job_stand_ins import Sabotage
from tunemv3d_data.rendering import executors
from tunemv3d_data.rendering.executors import Lost, Processes
from tunemv3d_data.objects import SourceObject

if __name__ == "__main__":
    sources = [SourceObject(name, Path("nowhere")) for name in ("a", "hang")]
    for source, outcome in Processes(1, 60.0).run(Sabotage(), sources):
        print(outcome[1], flush=True)
"""


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "parent.py")], env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        try:
            worker = int(parent.stdout.readline())
            time.sleep(1.0)  # it hangs in the next object
        finally:
            parent.kill()
    until = time.monotonic() + 10
    while Path(f"/proc/{worker}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()


def killed_while_starting(times: int) -> Callable[[], None]:
    """Kills the first worker of each of so many pools before it can have begun."""
    seen: set[int] = set()

    def kill() -> None:
        while len(seen) < times:
            for process in multiprocessing.active_children():
                if process.pid is not None and process.pid not in seen and len(seen) < times:
                    seen.add(process.pid)
                    os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.01)

    return kill


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_dies_before_it_begins_costs_nothing(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # One that held the queue's lock is noticed by silence alone: after this long and the limit.
    monkeypatch.setattr(executors, "STARTING", 5.0)
    threading.Thread(target=killed_while_starting(times), daemon=True).start()
    sources = [SourceObject(name, Path("nowhere")) for name in "abc"]
    outcomes = {source.id: outcome for source, outcome in Processes(1, 15.0).run(Sabotage(), sources)}
    assert set(outcomes) == {"a", "b", "c"} and not any(isinstance(outcome, Lost) for outcome in outcomes.values())


class Large(Sabotage):
    """Work that is more than a pipe holds, as of a job that names thousands of objects."""

    def __init__(self) -> None:
        self.held_out = "x" * 300_000


@pytest.mark.skipif(os.name != "posix", reason="Windows hands over what a process starts with in another way")
def test_workers_that_die_before_they_read_large_work_keep_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprocessing import util

    start = util.spawnv_passfds

    def die(path: str, words: list[bytes], *given: Any) -> int:
        worker = any("spawn_main" in os.fsdecode(word) for word in words)
        return start(path, [path, "-S", "-c", "raise SystemExit(9)"] if worker else words, *given)

    monkeypatch.setattr(util, "spawnv_passfds", die)
    monkeypatch.setattr(executors, "BROKEN_POOLS", 1)
    monkeypatch.setattr(executors, "STARTING", 1.0)
    with pytest.raises(DatasetError, match="workers die before they begin"):
        list(Processes(1, 1.0).run(Large(), [SourceObject("a", Path("nowhere"))]))


class Silent:
    """A pool that takes objects and never says anything of them."""

    def schedule(self, *_: object, **__: object) -> Future[None]:
        return Future()

    def stop(self) -> None: ...

    def join(self) -> None: ...


@pytest.mark.slow
def test_a_silent_pool_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    start, pools = executors._start_pool, [Silent()]

    def starts(*order: Any) -> Any:
        monkeypatch.setattr(executors, "STARTING", -59.0 if pools else 60.0)
        return pools.pop() if pools else start(*order)

    monkeypatch.setattr(executors, "_start_pool", starts)
    sources = [SourceObject(name, Path("nowhere")) for name in "abc"]
    outcomes = {source.id: outcome for source, outcome in Processes(1, 15.0).run(Sabotage(), sources)}
    assert set(outcomes) == {"a", "b", "c"} and not any(isinstance(outcome, Lost) for outcome in outcomes.values())


@pytest.mark.slow
def test_workers_that_never_begin_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "BROKEN_POOLS", 1)
    monkeypatch.setattr(executors, "STARTING", 5.0)
    threading.Thread(target=killed_while_starting(1), daemon=True).start()
    with pytest.raises(DatasetError, match="workers die before they begin"):
        list(Processes(1, 10.0).run(Sabotage(), [SourceObject("a", Path("nowhere"))]))
