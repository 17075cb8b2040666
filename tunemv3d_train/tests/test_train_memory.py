"""Out of memory: the part is named, what helps is said, and the steps before are kept."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import train_stand_ins as tiny
from safetensors.torch import load_file

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.checkpoint import run_checkpoints
from tunemv3d_train.planning.devices import device_of
from tunemv3d_train.planning.plan import Planner
from tunemv3d_train.trainer import train


def fail(cls: type, method: str, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ``call``-th pass with gradients of a part run out of memory."""
    whole, calls = getattr(cls, method), [0]

    def short(self: object, *arguments: object, **named: object) -> object:
        calls[0] += torch.is_grad_enabled()
        if calls[0] == call:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        return whole(self, *arguments, **named)

    monkeypatch.setattr(cls, method, short)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        (tiny.TinyLifter, "forward", "lifter"),
        (tiny.TinyField, "fuse", "field"),
        (tiny.TinyEncoder, "forward", "view encoder"),
    ],
)
def test_the_part_is_named_and_the_steps_before_are_kept(
    part: type, method: str, name: str, spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(load_spec(spec_file), tmp_path / "whole")
    with monkeypatch.context() as patched:
        fail(part, method, 4, patched)
        with pytest.raises(TuneMV3DError, match=f"out of memory in the {name}: .*--set .*Step 3 is kept"):
            train(load_spec(spec_file), tmp_path / "run")
    assert run_checkpoints(tmp_path / "run")[-1].name == "step-000003"
    resumed = train(load_spec(spec_file), tmp_path / "run", resume=True)
    assert (resumed.checkpoint / "model.safetensors").read_bytes() == (
        whole.checkpoint / "model.safetensors"
    ).read_bytes()


def test_without_a_step_there_is_nothing_to_lose(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(tiny.TinyLifter, "forward", 1, monkeypatch)
    with pytest.raises(TuneMV3DError, match=r"CUDA out of memory\. What makes it fit"):
        train(load_spec(spec_file), tmp_path / "run")
    assert not run_checkpoints(tmp_path / "run")


def test_what_helps_is_planned_and_spares_a_tenth(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(tiny.TinyLifter, "forward", 1, monkeypatch)
    with pytest.raises(TuneMV3DError) as raised:
        train(load_spec(spec_file), tmp_path / "run")
    helps = re.findall(r"--set '([^']+)'", str(raised.value))
    assert helps == ["train.batch=1", "train.accumulate=2"]
    peaks = [Planner(device_of("cpu")).plan(load_spec(spec_file, sets)).peak for sets in ([], helps)]
    assert peaks[1] < 0.9 * peaks[0]


def test_where_no_plan_can_be_made_the_usual_is_advised(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = tiny.TinyLifter.forward

    def waiting(self: Any, values: Any, *others: Any) -> Any:
        """Ask for a number, which a plan has not."""
        return forward(self, values * float(values.sum() == values.sum()), *others)

    monkeypatch.setattr(tiny.TinyLifter, "forward", waiting)
    fail(tiny.TinyLifter, "forward", 2, monkeypatch)
    with pytest.raises(
        TuneMV3DError, match=r"in the lifter: .*What helps, by --set: .*the lifter lora-encoder\. Step 1"
    ):
        train(load_spec(spec_file), tmp_path / "run")


class ChunkedSpec(ComponentSpec):
    type: str = "tiny-train"
    chunk_size: int = 8192
    gradient_checkpointing: bool = False


def field_that_needs(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the tiny field chunks, of which only ``chunk`` points or fewer fit, and only if none are kept."""
    fuse = tiny.TinyField.fuse

    def short(self: Any, *arguments: Any) -> Any:
        kept = not self.spec.gradient_checkpointing
        if torch.is_grad_enabled() and (kept or self.spec.chunk_size > chunk):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...")
        return fuse(self, *arguments)

    monkeypatch.setattr(tiny.TinyField, "spec", ChunkedSpec(), raising=False)
    monkeypatch.setattr(tiny.TinyField, "fuse", short)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_that_does_not_fit_is_done_again_with_smaller_chunks_and_the_run_is_the_same_bit_for_bit(
    accumulate: int,
    spec_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec = load_spec(spec_file, ["train.on_oom=retry", f"train.accumulate={accumulate}"])
    whole = train(spec, tmp_path / "whole")
    field_that_needs(2048, monkeypatch)
    capsys.readouterr()
    again = train(spec, tmp_path / "run")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("out of memory in step 1")]
    assert [line.partition(" with ")[2].partition(",")[0] for line in told] == [
        "model.field.gradient_checkpointing=true",
        "model.field.chunk_size=4096",
        "model.field.chunk_size=2048",
    ]
    for name in ("model.safetensors", "state/tensors.safetensors"):
        first, second = load_file(whole.checkpoint / name), load_file(again.checkpoint / name)
        assert first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)
    untimed = [
        [
            {k: v for k, v in json.loads(line).items() if k not in ("seconds", "steps_per_s")}
            for line in text.splitlines()
        ]
        for text in ((tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "run"))
    ]
    assert untimed[0] == untimed[1]


def test_where_nothing_smaller_is_left_the_run_stops_with_its_steps(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    field_that_needs(0, monkeypatch)
    with pytest.raises(TuneMV3DError, match="out of memory in the field"):
        train(load_spec(spec_file, ["train.on_oom=retry"]), tmp_path / "run")
