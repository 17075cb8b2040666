"""Windows and macOS: nothing that only POSIX has is needed, and files are the same bytes everywhere.

Neither system is at hand here, so their lacks are made: modules that cannot be imported, functions that are gone.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": "chown fork forkpty getgid getloadavg getpgid getpriority getuid geteuid killpg mkfifo nice O_DIRECTORY "
    "O_NOFOLLOW pread register_at_fork sched_getaffinity setpgrp setsid statvfs sync sysconf uname wait WIFSIGNALED",
    "signal": "SIGALRM SIGCHLD SIGHUP SIGKILL SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 alarm pause pthread_kill "
    "pthread_sigmask setitimer sigwait",
    "select": "epoll kqueue poll",
    "socket": "AF_UNIX",
}


def sources(*patterns: str) -> list[Path]:
    return [file for pattern in patterns for file in sorted(ROOT.glob(pattern)) if ".venv" not in file.parts]


def run_at_import(node: ast.AST) -> Iterator[ast.stmt]:
    """Statements that importing a module runs; what is tried and may fail, or asks for the platform first, is not."""
    for statement in getattr(node, "body", []):
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield statement
        elif isinstance(statement, (ast.ClassDef, ast.With)):
            yield from run_at_import(statement)


def imported(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.Import):
        return {alias.name.split(".")[0] for alias in statement.names}
    return {(statement.module or "").split(".")[0]} if isinstance(statement, ast.ImportFrom) else set()


@pytest.mark.slow
def test_no_module_imports_what_only_posix_has() -> None:
    files = sources(
        "tunemv3d_*/**/*.py", "plugins/*/**/*.py", "tests/*.py", "benchmarks/*.py", "release/*.py", "docs/**/*.py"
    )
    assert len(files) > 300
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert not {name for node in run_at_import(tree) for name in imported(node)} & POSIX_MODULES, file


OURS = sources("tunemv3d_*/src/**/*.py", "plugins/*/src/**/*.py")


def test_functions_that_only_posix_has_are_asked_for_first() -> None:
    for file in OURS:
        text = file.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module, name = node.value.id, node.attr
                if name in POSIX_NAMES.get(module, "").split():
                    assert f'hasattr({module}, "{name}")' in text, f"{file}:{node.lineno}: {module}.{name}"


@pytest.mark.slow
def test_text_files_are_utf_8_with_the_same_line_ends_everywhere() -> None:
    """Windows reads and writes another encoding unless it is named, and writes two letters for a line's end."""
    for file in OURS:
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, (ast.Attribute, ast.Name)):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id
            where, keys = f"{file}:{call.lineno}", {keyword.arg for keyword in call.keywords}
            mode = next(
                (a.value for a in call.args if isinstance(a, ast.Constant) and a.value in ("w", "a", "x")), None
            )
            if name == "write_text" and isinstance(call.func, ast.Attribute):
                assert len(call.args) > 1 or "encoding" in keys, where
                assert "newline" in keys, where
            elif name == "read_text":
                assert call.args or "encoding" in keys, where
            elif name == "open" and mode and "tarfile" not in ast.unparse(call.func):
                assert {"encoding", "newline"} <= keys, where


LACKING = """
import builtins, os, signal, socket, sys

class Lack:
    def find_spec(self, name, path=None, target=None):
        if name in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {modules!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Lack())
for module, names in ((signal, {signals!r}), (os, {names!r})):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which every Python, workers included, lacks what Windows lacks."""
    folder = tmp_path_factory.mktemp("lacking")
    modules = sorted(POSIX_MODULES - {"posix"})
    signals = [
        name for name in POSIX_NAMES["signal"].split() if name != "SIGKILL"
    ]  # its own multiprocessing kills by it
    names = ["fork", "forkpty", "getloadavg", "killpg", "nice", "sched_getaffinity", "sync"]
    text = LACKING.format(modules=modules, signals=signals, names=names)
    (folder / "sitecustomize.py").write_text(text, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_render_with_workers_ends_where_posix_lacks(tmp_path: Path, lacking: dict[str, str]) -> None:
    trimesh = pytest.importorskip("trimesh")
    (tmp_path / "meshes").mkdir()
    for name in ("box", "crate"):
        trimesh.creation.box((1, 2, 3)).export(tmp_path / "meshes" / f"{name}.ply")
    command = [sys.executable, "-c", "from tunemv3d_core.cli.main import main; main()", "data", "render"]
    options = ["--views", "2", "--resolution", "16", "--renderer", "embree", "--workers", "1", "--json"]
    arguments = [str(tmp_path / "meshes"), "--out", str(tmp_path / "out"), *options]
    for counts in ('"rendered": 2', '"kept": 2'):
        result = subprocess.run([*command, *arguments], env=lacking, capture_output=True, text=True)
        assert result.returncode == 0 and counts in result.stdout, result.stderr[-2000:]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("dataset.json", "ATTRIBUTION.md", "report.json", "objects")
    }


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_output_needs_no_letter_that_a_console_lacks(tmp_path: Path, encoding: str) -> None:
    """Windows' pipes and older consoles are not UTF-8."""
    folder = tmp_path / "objects" / "椅子"
    folder.mkdir(parents=True)
    (folder / "transforms.json").write_text("{}")
    manifest = {"format": "tunemv3d-multiview/1", "name": "x", "objects": [{"id": "椅子", "split": "train"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")
    command = [sys.executable, "-c", "from tunemv3d_core.cli.main import main; main()", "data", "check", str(tmp_path)]
    command += ["--out", str(tmp_path.parent / "check"), "--workers", "1"]
    environment = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True)
    assert done.returncode == 1, done.stderr[-500:]
    assert json.loads(done.stdout.decode(encoding))["found"][0]["object"] == "椅子"
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 1 and b"Traceback" not in done.stderr, done.stderr[-500:]
