"""The command: what it prints, its exit codes, Ctrl-C, a full disk, two processes."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import train_stand_ins as tiny
from child_processes import running

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io import checkpoint


def command(offered: Path, *arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, *launcher, "-m", "tunemv3d_train", *map(str, arguments)]
    return subprocess.run(run, capture_output=True, text=True, env=tiny.environment(offered), timeout=300)


def test_the_command_prints_one_message_and_exits_with_2(offered: Path, tmp_path: Path) -> None:
    result = command(offered, tmp_path / "nothing.json")
    assert result.returncode == 2 and "nothing.json" in result.stderr and "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 4096])
def test_a_command_that_cannot_write_is_one_message_and_leaves_no_part(
    size: int, offered: Path, spec_file: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the full disk."""
    run = [sys.executable, "-m", "tunemv3d_train", str(spec_file), "--out", str(tmp_path / "run")]
    limit = f'ulimit -f {size // 1024}; exec "$@"'
    # The limit would meet temporary files too, of which torch tries one on import where no cache has a name.
    variables = tiny.environment(offered) | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled")}
    command_line = ["bash", "-c", limit, "bash", *run]
    result = subprocess.run(command_line, capture_output=True, text=True, env=variables, timeout=300)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "written" in result.stderr and "error: " in result.stderr
    left = [path for path in (tmp_path / "run").rglob("*") if path.is_file() and path.name != ".lock"]
    assert not [path for path in left if path.name.endswith(".part")]
    assert [path.name for path in left] == [] if size == 0 else load_spec(tmp_path / "run/spec.json")


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(offered: Path, spec_file: Path, tmp_path: Path) -> None:
    run = [sys.executable, "-m", "tunemv3d_train", str(spec_file), "--out", str(tmp_path / "run"), "--steps", "100000"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with running(run, env=tiny.environment(offered), **pipes) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 3 "):
                process.send_signal(signal.SIGINT)
                break
        told = process.stderr.read()
        assert process.wait() == 130
    assert "Traceback" not in told and "--set 'train.steps=100000'" in told and told.strip().endswith("--resume")
    assert checkpoint.run_checkpoints(tmp_path / "run")


def test_help_imports_no_torch(offered: Path) -> None:
    code = (
        "import sys; from tunemv3d_train.cli import main\n"
        "sys.argv = ['tunemv3d-train', '--help']\n"
        "try: main()\nfinally: print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and "--resume" in result.stdout and result.stdout.strip().endswith("False")


@pytest.mark.slow
def test_two_processes_train_one_model(offered: Path, spec_file: Path, tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    words = ("--steps", 2, "--set", "train.cuda_graph=true", "--json")
    result = command(offered, spec_file, "--out", tmp_path / "run", *words, launcher=launcher)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("train.cuda_graph: off, because") == 1
    told = json.loads(result.stdout)
    assert told["step"] == 2 and Path(told["checkpoint"]).is_dir()
