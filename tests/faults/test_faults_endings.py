"""Two processes end together: every time with exit code 0, the same end and no word of an abort, under load."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import train_stand_ins as tiny
from harness import FULL, Command, Zygote, fresh, learned
from tally import Tally

from tunemv3d_core.io.checkpoint import run_checkpoints

ENDINGS = 200 if FULL else 10
BUSY = 4
"""Processes that only keep the cores from idling."""


def ranks(argv: list[object], count: int = 2) -> list[Command]:
    """The command as a launcher starts it, once for each rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    shared["MASTER_PORT"] = str(port)
    each = ({**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count))
    return [Command(list(map(str, argv)), env=environment, whole=True) for environment in each]


@pytest.fixture
def load() -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY if FULL else 1)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.faults
def test_two_processes_end_together(zygote: Zygote, tmp_path: Path, load: None) -> None:
    packed = tiny.pack(tiny.write_dataset(tmp_path / "discs"), tmp_path / "packed")
    spec = tiny.write_spec(tmp_path / "tiny.json", packed, steps=2, batch=1)
    run = tmp_path / "run"
    argv = ["tunemv3d-train", spec, "--out", run, "--set", f'data={{"type": "shards", "path": "{packed}"}}']
    tally, first = Tally("endings of two processes", "run on shards"), None
    for number in range(ENDINGS):
        fresh(run)
        with tally.attempt(number):
            for ended in zygote.at_once(ranks(argv), limit=180):
                ended.went_well()
            end = learned(run)
            first = first or end
            assert end == first
    tally.close()


@pytest.mark.faults
@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_that_dies_is_named_and_the_run_goes_on_from_its_last_checkpoint(
    lost: int, zygote: Zygote, tmp_path: Path
) -> None:
    spec = tiny.write_spec(tmp_path / "tiny.json", tiny.write_dataset(tmp_path / "discs"), steps=100_000)
    argv = ["tunemv3d-train", spec, "--out", tmp_path / "run"]
    kill = {"name": lost, "signal": "SIGKILL", "once": tmp_path / "run/checkpoints/step-000002", "limit": 60}
    ended = zygote.at_once(ranks(argv), limit=120, kill=kill)
    left = ended[1 - lost].was_refused()
    assert f"rank {lost} (process " in left.err or "another process ended" in left.err, left.err
    done = int(run_checkpoints(tmp_path / "run")[-1].name[5:])
    zygote.run(*argv, "--resume", "--steps", done + 1).went_well()


@pytest.mark.faults
def test_a_rank_that_is_stopped_is_named(zygote: Zygote, tmp_path: Path) -> None:
    spec = tiny.write_spec(tmp_path / "tiny.json", tiny.write_dataset(tmp_path / "discs"), steps=100_000)
    commands = ranks(["tunemv3d-train", spec, "--out", tmp_path / "run"])
    for command in commands:
        command.constants = {"tunemv3d_train.ranks.EVERY": 0.3, "tunemv3d_train.ranks.SILENT": 4.0}
    kill = {"name": 1, "signal": "SIGSTOP", "once": tmp_path / "run/checkpoints/step-000002", "limit": 10}
    first, _ = zygote.at_once(commands, limit=120, kill=kill)
    assert first.code == "hangs" and "rank 1 (process " in first.err, first.err
    assert "has given no sign of life for 4 s" in first.err
