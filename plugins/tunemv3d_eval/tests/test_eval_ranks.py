"""Several processes share an evaluation's work and leave the files that one leaves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_eval_command import run, toy  # noqa: F401 - fixtures

from tunemv3d_core.ranks import ALONE, Ranks


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in an evaluation's folder, by path; of reports what no clock says."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    report = json.loads(found.pop("evaluate.json"))
    for clocked in ("date", "seconds", "times"):
        report.pop(clocked)
    lines = [line for line in found.pop("table.md").decode().splitlines() if ", cpu (" not in line]
    return found | {"evaluate.json": json.dumps(report).encode(), "table.md": "\n".join(lines).encode()}


def test_shares_are_all_of_the_work_and_nothing_twice() -> None:
    shares = [Ranks(rank, 3).share(range(10)) for rank in range(3)]
    assert sorted(item for share in shares for item in share) == list(range(10)) and [
        len(share) for share in shares
    ] == [4, 3, 3]
    assert ALONE.share(range(4)) == [0, 1, 2, 3] and ALONE.total(5) == 5


def test_each_process_takes_the_gpu_of_its_number_unless_one_is_named() -> None:
    third, gpu = Ranks(6, 8, local=2), torch.device("cuda")
    assert third.device(gpu) == torch.device("cuda:2") and ALONE.device(gpu) == gpu
    assert third.device(torch.device("cuda:1")) == torch.device("cuda:1")
    assert third.device(torch.device("cpu")) == torch.device("cpu")


def test_two_processes_leave_what_one_leaves(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    words = ["--metric", "colour", "--metric", "opacity-iou", "--real", "--controls"]
    assert run(*words, out="one").exit_code == 0
    made: list[int] = []
    # They run here one after the other, the first last.
    monkeypatch.setattr(Ranks, "total", lambda self, count: made.append(count) or sum(made))
    for rank in (1, 0):
        monkeypatch.setattr(Ranks, "launched", lambda rank=rank: Ranks(rank, 2, rank))
        assert run(*words, out="two").exit_code == 0
    one, two = files(tmp_path / "one"), files(tmp_path / "two")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []
    assert not (tmp_path / "two/.shares").exists()
