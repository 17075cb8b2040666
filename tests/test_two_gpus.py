"""Two GPUs under torchrun: they learn what one learns, and end with whole checkpoints whatever happens to one."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path

import pytest
import torch
from child_processes import running
from safetensors.torch import load_file

from tunemv3d_core.io.checkpoint import check_checkpoint, run_checkpoints

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs"),
]
BY_TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
ONE = {"CUDA_VISIBLE_DEVICES": "0"}
SHORT = ("train.steps=20", "train.preview_every=0", "train.checkpoint_every=20")
LONG = ("train.steps=100000", "train.preview_every=0", "train.checkpoint_every=20", "train.log_every=1000")
EAGER = "train.cuda_graph=false"
LORA = 'model.lifter={"type": "lora-encoder"}'


def command(out: Path, sets: tuple[str, ...], launcher: tuple[str, ...] = ()) -> list[str]:
    options = [word for each in sets for word in ("--set", each)]
    return [sys.executable, *launcher, "-m", "tunemv3d_train", "chairs-mini", "--out", str(out), *options]


def trained(out: Path, sets: tuple[str, ...], by_two: bool = False) -> dict[str, torch.Tensor]:
    """Weights after a whole run."""
    words, place = command(out, sets, BY_TWO if by_two else ()), {} if by_two else ONE
    subprocess.run(words, env=os.environ | place, check=True, timeout=300, capture_output=True)
    return load_file(run_checkpoints(out)[-1] / "model.safetensors")


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Distance of all weights together, relative to their size."""
    distance = sum(float((one[name].double() - other[name].double()).square().sum()) for name in one)
    return float((distance / sum(float(w.double().square().sum()) for w in one.values())) ** 0.5)


def ranks(pid: int) -> list[int]:
    """Processes of the ranks that a launcher started, in their order."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has ended meanwhile
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid and b"tunemv3d_train" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return sorted(found)


@contextmanager
def at_work(out: Path, *more: str) -> Iterator["subprocess.Popen[str]"]:
    """A long run by two GPUs that has a checkpoint."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with running(command(out, LONG, (*BY_TWO, *more)), seconds=240, **pipes) as process:
        while not run_checkpoints(out):
            assert process.poll() is None
            time.sleep(0.1)
        yield process


@pytest.mark.parametrize(
    "sets",
    [
        (EAGER,),
        (EAGER, "train.ema=0.9"),
        (EAGER, "train.batch=1", LORA),
        (EAGER, "train.precision=fp32"),
        (EAGER, "views.novel=0", "loss.mask=0"),
        ("train.parallel=fsdp2", "train.ema=0.9"),
        ("train.parallel=fsdp2", "train.batch=1", LORA),
        ("train.parallel=fsdp2", "train.precision=fp32"),
    ],
    ids=[
        "plain",
        "average",
        "lora",
        "float32",
        "no novel views",
        "shards",
        "lora in shards",
        "float32 in shards",
    ],
)
def test_two_learn_what_one_learns_that_accumulates(sets: tuple[str, ...], tmp_path: Path) -> None:
    alone = (*SHORT, *sets, "train.accumulate=2")
    one, *others = (trained(tmp_path / name, alone) for name in ("one", "again", "third"))
    two = trained(tmp_path / "two", (*SHORT, *sets), by_two=True)
    # Sums of gradients have no fixed order on a GPU: one process differs from itself, by more or less each time.
    noise = max(apart(a, b) for a, b in combinations((one, *others), 2))
    assert apart(one, two) <= max(1e-6, 5 * noise)


def test_a_run_by_two_ends_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(command(tmp_path / "run", SHORT, BY_TWO), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not re.search("destroy_process_group|Warning|terminate called", done.stderr), done.stderr


@pytest.mark.parametrize("victim", [0, 1])
def test_where_one_is_killed_all_end_soon_with_whole_checkpoints(victim: int, tmp_path: Path) -> None:
    with at_work(tmp_path / "run") as process:
        os.kill(ranks(process.pid)[victim], signal.SIGKILL)
        began = time.monotonic()
        _, told = process.communicate()
        # Whoever waits for the one that is gone is killed by the launcher after 30 s.
        assert process.returncode != 0 and time.monotonic() - began < 60
    assert f"local_rank: {victim}" in told
    check_checkpoint(run_checkpoints(tmp_path / "run")[-1])


def test_a_launcher_that_restarts_goes_on(tmp_path: Path) -> None:
    with at_work(tmp_path / "run", "--max-restarts", "1") as process:
        os.kill(ranks(process.pid)[1], signal.SIGKILL)
        killed_at = int(run_checkpoints(tmp_path / "run")[-1].name[5:])
        while int(run_checkpoints(tmp_path / "run")[-1].name[5:]) < killed_at + 60:
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate()
    saved = re.findall(r"interrupted after step (\d+)", told)
    assert saved and run_checkpoints(tmp_path / "run")[-1].name == f"step-{int(saved[-1]):06d}"


def test_one_that_is_stopped_is_named_and_may_go_on(tmp_path: Path) -> None:
    with at_work(tmp_path / "run") as process:
        stopped = ranks(process.pid)[1]
        os.kill(stopped, signal.SIGSTOP)
        assert process.stderr is not None
        began, told = time.monotonic(), ""
        while "sign of life" not in told:
            told = process.stderr.readline()
            assert time.monotonic() - began < 60
        assert f"rank 1 (process {stopped}" in told
        os.kill(stopped, signal.SIGCONT)
        while "is back" not in told:
            told = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate()
    assert re.search(r"interrupted after step (\d+)", told)


def test_two_ranks_on_one_gpu_are_refused_once(tmp_path: Path) -> None:
    words = command(tmp_path / "run", SHORT, BY_TWO)
    done = subprocess.run(words, env=os.environ | ONE, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert done.stderr.count("2 processes for 1 GPU") == 1, done.stderr
    assert not (tmp_path / "run").exists()
