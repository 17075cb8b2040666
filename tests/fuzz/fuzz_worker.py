"""A child process that opens one case after the other, within limits, and says what each of them did.

It is started with a pipe's two ends. A case that touches a file outside its folder, starts a process or connects
anywhere is told as such, whatever it answers.
"""

import contextlib
import io
import os
import resource
import sys
import tempfile
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from fuzz_mutations import CANARY
from fuzz_targets import BROKEN, TARGETS, prepare

MEMORY = 2 * 2**30
"""Bytes that a case may have beyond those of the process that waits for it."""

_STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect", "os.fork")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")

_watched: dict[str, Any] = {"folder": "", "seen": []}


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what a case does outside its folder (PEP 578)."""
    if not _watched["folder"]:
        return
    if event in _STARTS:
        _watched["seen"].append(f"{event} {arguments!r:.200}")
    elif event == "open" or event in _CHANGES:
        writes = event != "open" or _is_writing(*arguments[1:3])
        for name in arguments[:1] if event == "open" else arguments[:2]:
            path = (
                os.path.realpath(os.fsdecode(name))
                if isinstance(name, str | bytes) and b"\0" not in os.fsencode(name)
                else ""
            )
            is_outside = path and path != os.devnull and not path.startswith(_watched["folder"])
            if is_outside and (writes or path.endswith(CANARY)):
                _watched["seen"].append(f"{event} {path[:200]}")


def _is_writing(mode: Any, flags: Any) -> bool:
    in_words = isinstance(mode, str) and bool(set("wax+") & set(mode))
    return in_words or (isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))


@contextlib.contextmanager
def _watching(folder: Path) -> Iterator[list[str]]:
    _watched["folder"], _watched["seen"] = os.path.realpath(folder), []
    try:
        yield _watched["seen"]
    finally:
        _watched["folder"] = ""


def _lay(folder: Path, files: dict[str, Any]) -> None:
    """Write a case's files; ("pipe",) and ("link", target) stand for what is no plain file."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content[0] == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(content[1])


def _outcome(kind: str, files: dict[str, Any], words: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        (Path(place) / CANARY).write_bytes(b"secret")
        folder = Path(place) / "case"
        folder.mkdir()
        _lay(folder, files)
        said = io.StringIO()
        with _watching(folder) as seen, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                found = {"outcome": (TARGETS | BROKEN)[kind](folder, words)}
            except BaseException as error:
                last = traceback.extract_tb(error.__traceback__)
                own = [f"{Path(f.filename).name}:{f.name}" for f in last if "tunemv3d" in f.filename]
                text = "".join(traceback.format_exception(error))[-3_000:]
                found = {"outcome": "traceback", "at": f"{type(error).__name__} {own[-1:]}", "text": text}
        if seen:
            return {"outcome": "outside", "at": seen[0].replace(place, "")[:80], "text": "\n".join(seen[:5])}
        return found


def main(connection: Connection, prepared: bool = True) -> None:
    """Answer cases until the other end is closed; ``prepared``: import first what they need."""
    sys.dont_write_bytecode = True
    if prepared:
        prepare()
    sys.addaudithook(_audit)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    connection.send("ready")
    while True:
        try:
            kind, files, words = connection.recv()
        except EOFError:
            return
        connection.send(_outcome(kind, files, words))
