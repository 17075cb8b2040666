"""Two processes of one run as a launcher starts them, but from one that has imported everything already."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import train_stand_ins as tiny


def train_by_two(offered: Path, scratch: Path, *arguments: object) -> str:
    """Run ``tunemv3d-train`` in two processes that end well; return what they said on standard error."""
    ends, said = run_two(offered, scratch, arguments, arguments)
    assert ends == [0, 0], said
    return said


def run_two(
    offered: Path, scratch: Path, first: Sequence[object], second: Sequence[object]
) -> tuple[list[int | None], str]:
    """Run ``tunemv3d-train`` in two processes with arguments of their own; return exit codes and what they said."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tunemv3d_train.cli", "tunemv3d_train.trainer"])
    told, ranks = [scratch / f"rank-{rank}" for rank in range(2)], []
    for rank, (file, arguments) in enumerate(zip(told, (first, second), strict=True)):
        environment = tiny.environment(offered) | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        words = ["tunemv3d-train", *map(str, arguments)]
        ranks.append(context.Process(target=_rank, args=(words, environment, file)))
        ranks[-1].start()
    until = time.monotonic() + 300
    for process in ranks:
        process.join(max(0, until - time.monotonic()))
    for process in ranks:
        process.kill()  # one that waits for the other would keep this process from its own end
    return [process.exitcode for process in ranks], "".join(file.read_text("utf-8") for file in told)


def _rank(words: list[str], environment: dict[str, str], told: Path) -> None:
    stream = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ.update(environment)
    sys.argv = words
    from tunemv3d_train.cli import main

    main()
