"""Does a render that is killed ten times end in the same dataset, byte for byte? And how much memory does it take?

Run it as ``python benchmarks/killed_render.py SOURCE IDS [--renderer moderngl] [--workers 2] [--kills 10] [--seed 0]
[--views 24] [--resolution 128]``; IDS is a file of ids for ``--select``. Linux only: it reads /proc.

The source is rendered once without interruption, which measures memory: that of the command and all its workers
together, every 0.2 s. RSS counts shared pages in each process, PSS shares them out. Then it is rendered into another
folder and killed by SIGKILL at drawn moments, half of the time a worker first and the
command later. Workers are waited for, and how long they outlive their command is measured. At last the command runs to
its end.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""Seconds that workers may outlive their command."""


def tree(pid: int) -> list[int]:
    """A process and those below it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            found += [int(child) for child in _text(children).split()]
    return found


def memory(pids: list[int]) -> tuple[int, int]:
    """RSS and PSS of some processes, bytes."""
    totals = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        for line in _text(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
            key, *rest = line.split()
            if key in totals:
                totals[key] += int(rest[0]) * 1024
    return totals["Rss:"], totals["Pss:"]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # it has ended meanwhile
        return ""


def workers_of(pid: int) -> list[int]:
    """The processes that render."""
    return [one for one in tree(pid)[1:] if "spawn_main" in _text(Path(f"/proc/{one}/cmdline"))]


def whole_run(command: list[str], out: Path) -> dict[str, Any]:
    """Render without interruption; seconds, seconds until the first object, and peaks of memory."""
    start, first, peaks = time.monotonic(), 0.0, (0, 0)
    with (out.parent / "whole.log").open("w") as log:
        running = subprocess.Popen([*command, "--out", str(out)], stdout=log, stderr=log)
        while running.poll() is None:
            rss, pss = memory(tree(running.pid))
            peaks = max(peaks[0], rss), max(peaks[1], pss)
            if not first and any((out / "objects").glob("*")):
                first = time.monotonic() - start
            time.sleep(0.2)
    seconds = time.monotonic() - start
    return {"code": running.returncode, "seconds": seconds, "first": first, "peak_rss": peaks[0], "peak_pss": peaks[1]}


def finished(out: Path) -> int:
    """How many objects are whole."""
    return len(list((out / "objects").glob("*/transforms.json")))


def killed_run(command: list[str], out: Path, further: int, delay: float, kill_worker: bool) -> dict[str, Any] | None:
    """Start the render and kill it some time after further objects were finished; None where it was done before. A
    worker that dies before it has begun ends the command by itself, with a message.
    """
    before, worker_killed = finished(out), False
    with (out.parent / "killed.log").open("a") as log:
        running = subprocess.Popen([*command, "--out", str(out)], stdout=log, stderr=log)
    while finished(out) < before + further and running.poll() is None:
        if kill_worker and not worker_killed and (workers := workers_of(running.pid)):
            time.sleep(delay * random.random())
            os.kill(random.choice(workers), signal.SIGKILL)
            worker_killed = True
        time.sleep(0.01)
    time.sleep(delay)
    left = tree(running.pid)[1:]
    if running.poll() in (0, 1):
        return None
    killed = running.poll() is None
    running.kill()
    running.wait()
    start = time.monotonic()
    while any(Path(f"/proc/{pid}").exists() for pid in left) and time.monotonic() < start + PATIENCE:
        time.sleep(0.01)
    outlived = time.monotonic() - start
    return {"finished": finished(out), "worker_killed": worker_killed, "killed": killed, "workers_outlived": outlived}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main() -> None:
    """Measure, compare and print; exit code 1 where the datasets differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("ids", type=Path)
    parser.add_argument("--renderer", default="moderngl")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--views", type=int, default=24)
    parser.add_argument("--resolution", type=int, default=128)
    given = parser.parse_args()
    random.seed(given.seed)
    command = [str(Path(sys.executable).with_name("tunemv3d")), "data", "render", str(given.source)]
    for name in ("renderer", "workers", "views", "resolution"):
        command += [f"--{name}", str(getattr(given, name))]
    command += ["--select", str(given.ids)]
    objects = len(given.ids.read_text().split())
    with tempfile.TemporaryDirectory() as folder:
        # Both are called the same, because a dataset's name is its folder's.
        whole, killed = (Path(folder, name, "dataset") for name in ("whole", "killed"))
        for out in (whole, killed):
            out.parent.mkdir()
        uninterrupted = whole_run(command, whole)
        kills: list[dict[str, Any]] = []
        for number in range(given.kills):
            further = random.randint(
                number % 2, 2 * max(given.kills, objects - finished(killed) - 4) // (given.kills - number + 1)
            )
            delay = random.uniform(0, 1 if further else uninterrupted["first"])
            if found := killed_run(command, killed, further, delay, number % 2 == 1):
                kills.append(found)
        last = subprocess.run([*command, "--out", str(killed)], capture_output=True, text=True, check=False)
        first, second = content(whole), content(killed)
        differing = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "options": {name: getattr(given, name) for name in ("renderer", "workers", "views", "resolution", "seed")},
        "objects": objects,
        "uninterrupted": uninterrupted,
        "kills": kills,
        "last_code": last.returncode,
        "files": len(first),
        "differing": differing,
    }
    print(json.dumps(result, indent=1))
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
