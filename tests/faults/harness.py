"""Commands that are disturbed, and what is asserted of what comes after."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import train_stand_ins as tiny
from file_operations import Event
from safetensors.torch import load_file

HERE = Path(__file__).parent
FULL = os.environ.get("TUNEMV3D_FAULTS") == "full"
"""Everything, as ``make faults`` does; else a small part of each kind."""


@dataclass
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; -N where signal N ended it; "hangs" where it had to be ended.
        out: standard output.
        err: standard error.
    """

    code: int | str
    out: str
    err: str

    def went_well(self) -> "Ended":
        """Assert exit code 0 and no word of a broken process."""
        assert self.code == 0, f"exit code {self.code}: {self.err}"
        return self.spoke_plainly()

    def was_refused(self) -> "Ended":
        """Assert one message and exit code 2."""
        assert self.code == 2 and self.err.count("error: ") == 1, f"exit code {self.code}: {self.err}"
        return self.spoke_plainly()

    def spoke_plainly(self) -> "Ended":
        """Assert that there is no traceback and no abort."""
        for word in ("Traceback", "terminate called", "destroy_process_group", "Segmentation", "Fatal Python"):
            assert word not in self.err, self.err
        return self


class Zygote:
    """Runs commands in children of a process that has imported everything (``zygote.py``).

    Args:
        scratch: folder for what commands print.
        offered: folder of the distribution that offers the tiny components.
    """

    def __init__(self, scratch: Path, offered: Path) -> None:
        self.scratch, self.commands = scratch, 0
        environment = tiny.environment(offered)
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), environment["PYTHONPATH"]])
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "COLUMNS", "TUNEMV3D_PROVENANCE"):
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"

    def run(self, *argv: object, limit: float = 300, **options: Any) -> Ended:
        """Run one command; ``fault`` goes to the layer (``file_operations.Layer``)."""
        return self.at_once([Command(list(map(str, argv)), **options)], limit)[0]

    def at_once(
        self, commands: "Sequence[Command]", limit: float = 300, kill: Mapping[str, Any] | None = None
    ) -> list[Ended]:
        """Run several commands at once.

        Args:
            commands: all start together.
            limit: seconds.
            kill: ``name``, the number of one, which gets a ``signal``, ``once`` a path exists; then ``limit`` anew.
        """
        requests = []
        for command in commands:
            self.commands += 1
            name = f"{self.commands:05d}"
            files = {"out": str(self.scratch / f"{name}.out"), "err": str(self.scratch / f"{name}.err")}
            requests.append({"name": name, "folder": str(self.scratch), **vars(command), **files})
        if kill is not None:
            kill = {**kill, "name": requests[kill["name"]]["name"], "once": str(kill["once"])}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"commands": requests, "limit": limit, "kill": kill}) + "\n")
        self._process.stdin.flush()
        codes = json.loads(self._process.stdout.readline())
        texts = [[Path(request[name]).read_text(errors="replace") for name in ("out", "err")] for request in requests]
        for request in requests:
            Path(request["out"]).unlink()
            Path(request["err"]).unlink()
        return [Ended(codes[request["name"]], *text) for request, text in zip(requests, texts, strict=True)]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


@dataclass
class Command:
    """A command to run.

    Attributes:
        argv: its command line.
        fault: options of the layer, none without one.
        env: variables of its environment.
        constants: values of modules' constants by their dotted names.
        whole: whether the interpreter shuts down at the end, as a process does; it takes a second.
    """

    argv: list[str]
    fault: dict[str, Any] | None = None
    env: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    whole: bool = False


def recorded(zygote: Zygote, argv: Sequence[object], root: Path) -> list[Event]:
    """Run a command that nothing disturbs, and return its operations below ``root``."""
    log = zygote.scratch / "log.pickle"
    zygote.run(*argv, fault={"root": str(root), "log": str(log)}).went_well()
    events: list[Event] = pickle.loads(log.read_bytes())
    return events


def spread(count: int, of: int) -> list[int]:
    """``count`` of the numbers below ``of``, evenly; all of them in the full suite or where there are fewer."""
    return list(range(of)) if FULL or count >= of else sorted({i * of // count for i in range(count)})


def fresh(folder: Path) -> Path:
    """Make room for a new attempt."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


UNTIMED = ("seconds", "steps_per_s")


def learned(run: Path) -> dict[str, Any]:
    """All of a run that no clock enters: weights, state, figures, previews, and which files there are."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = str(path.relative_to(run))
        if path.is_dir() or name.startswith("tensorboard/"):
            continue
        if path.suffix == ".safetensors":
            found[name] = {key: (str(t.dtype), t.numpy().tobytes()) for key, t in load_file(path).items()}
        elif path.name == "metrics.jsonl":
            found[name] = [_untimed(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name == "values.json":
            found[name] = _untimed(json.loads(path.read_text()))
        elif path.name in ("provenance.json", "index.html"):
            found[name] = True
        else:
            found[name] = path.read_bytes()
    return found


def _untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in UNTIMED}
