"""Several processes: they stop together, end together, and go on after a restart. Unit parts run in one process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import train_stand_ins as tiny
from child_processes import running
from safetensors.torch import load_file
from train_ranks import run_two, train_by_two

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.console import run
from tunemv3d_core.io.checkpoint import check_checkpoint, run_checkpoints
from tunemv3d_train.agreement import ProcessesError, check_alike, check_devices
from tunemv3d_train.cli import _program, train
from tunemv3d_train.interruption import SIGNALS, watched
from tunemv3d_train.trainer import train as learn

LAUNCHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def apart(one: Path, other: Path) -> float:
    """Distance of two checkpoints' weights, all together, relative to their size."""
    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    distance = sum((first[name].double() - second[name].double()).square().sum() for name in first)
    return float((distance / sum(tensor.double().square().sum() for tensor in first.values())).sqrt())


def children(pid: int) -> list[int]:
    """Processes that a launcher started, in the order of their ranks."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid and b"tunemv3d_train" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return sorted(found)


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_is_a_request_to_stop(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with watched() as interruption:
        assert not interruption.agreed()
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        assert interruption.agreed()
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)  # a scheduler may send it again
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("local", "world", "expected"),
    [
        (None, None, "tunemv3d-train"),
        ("1", "1", "tunemv3d-train"),
        ("4", "4", "torchrun --nproc-per-node 4 -m tunemv3d_train"),
        ("8", "16", "torchrun --nnodes 2 --nproc-per-node 8 -m tunemv3d_train"),
    ],
)
def test_the_command_to_go_on_with_is_the_one_that_was_run(
    local: str | None, world: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LOCAL_WORLD_SIZE", local), ("WORLD_SIZE", world)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert _program() == expected


@pytest.mark.slow
def test_processes_of_other_specs_are_refused_by_one_message(offered: Path, spec_file: Path, tmp_path: Path) -> None:
    words = [spec_file, "--out", tmp_path / "run"]
    ends, said = run_two(offered, tmp_path, words, [*words, "--set", "seed=7"])
    assert ends == [2, 2] and not (tmp_path / "run").exists()
    assert said.count("differ in spec") == 1 and "Traceback" not in said, said


def test_what_all_find_wrong_is_said_once(
    offered: Path, spec_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(spec_file), "--set", "model.field.type=nues"]
    launcher = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    given = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(launcher.port), "WORLD_SIZE": "2"}
    for name, value in (given | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            run(train, words)
        assert end.value.code == 2
    with pytest.raises(SystemExit):
        run(train, [*words[:-1], "model.field.type=another"])
    said = capsys.readouterr().err
    assert said.count("error: ") == 2 and said.count("'nues'") == 1 and "'another'" in said
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE")
    with pytest.raises(SystemExit):
        run(train, words)
    assert "'nues'" in capsys.readouterr().err


def test_more_processes_than_objects_or_gpus_are_refused(spec_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    several = SimpleNamespace(num_processes=4)
    with pytest.raises(ProcessesError, match="4 processes for 3 objects to learn from"):
        check_alike(several, load_spec(spec_file), {}, train_objects=3)  # type: ignore[arg-type]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    check_devices()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ProcessesError, match=r"2 processes for 1 GPU of this machine.*--nproc-per-node 1"):
        check_devices()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc for the ranks")
def test_a_signal_to_one_rank_stops_all_with_a_checkpoint(offered: Path, spec_file: Path, tmp_path: Path) -> None:
    options = ("--steps", "100000", "--set", "train.log_every=1000", "--set", "train.checkpoint_every=3")
    command = [*LAUNCHER, "-m", "tunemv3d_train", str(spec_file), "--out", str(tmp_path / "run"), *options]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with running(command, seconds=300, env=tiny.environment(offered), **pipes) as process:
        while not run_checkpoints(tmp_path / "run"):
            assert process.poll() is None
            time.sleep(0.05)
        os.kill(children(process.pid)[1], signal.SIGUSR1)
        _, told = process.communicate()
        assert process.returncode != 0  # the launcher's own code for ranks that ended with 130
    (step,) = re.findall(
        r"interrupted after step (\d+); go on with: torchrun --nproc-per-node 2 -m tunemv3d_train", told
    )
    assert run_checkpoints(tmp_path / "run")[-1].name == f"step-{int(step):06d}"
    assert "terminate called" not in told and "destroy_process_group" not in told


@pytest.mark.slow
def test_a_restarted_launcher_goes_on(
    offered: Path,
    spec_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_by_two(offered, tmp_path, spec_file, "--out", tmp_path / "run", "--set", "train.checkpoint_every=1")
    alone = learn(load_spec(spec_file, ["train.accumulate=2"]), tmp_path / "alone").checkpoint
    assert apart(run_checkpoints(tmp_path / "run")[-1], alone) < 1e-6
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(SystemExit) as end:
        run(train, [str(spec_file), "--out", str(tmp_path / "run"), "--steps", "8"])
    assert not end.value.code and "trained by 2 processes so far, goes on with 1" in capsys.readouterr().err
    values = json.loads((run_checkpoints(tmp_path / "run")[-1] / "state/values.json").read_text("utf-8"))
    assert (values["step"], values["drawn"]) == (8, 14)


@pytest.mark.slow
def test_shards_learn_what_one_process_learns_and_go_on(offered: Path, spec_file: Path, tmp_path: Path) -> None:
    more = ("train.ema=0.5", "train.checkpoint_every=2", "train.evaluate_every=2", "optimizer.schedule.type=constant")
    sets = [word for each in (*more, "train.parallel=fsdp2") for word in ("--set", each)]
    words = [spec_file, "--out", tmp_path / "run", *sets]
    train_by_two(offered, tmp_path, *words, "--steps", "4")
    train_by_two(offered, tmp_path, *words, "--steps", "6", "--resume")
    alone = learn(load_spec(spec_file, [*more, "train.accumulate=2", "train.steps=6"]), tmp_path / "alone")
    shards = run_checkpoints(tmp_path / "run")[-1]
    check_checkpoint(shards, state=True)
    assert shards.name == alone.checkpoint.name
    assert apart(shards, alone.checkpoint) < 1e-6
    logged = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
        for folder in (tmp_path / "run", tmp_path / "alone")
    ]
    both = [{line["step"]: line["loss"] for line in lines if "loss" in line} for lines in logged]
    assert both[0] == pytest.approx(both[1], rel=1e-4) and len(both[0]) == 6
    moments, own = (load_file(folder / "state/tensors.safetensors") for folder in (shards, alone.checkpoint))
    assert moments.keys() == own.keys()
    for name, value in own.items():
        torch.testing.assert_close(moments[name], value, rtol=1e-4, atol=1e-7)
