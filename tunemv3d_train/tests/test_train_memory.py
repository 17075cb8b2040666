"""Out of memory: the part is named, what helps is said, and the steps before are kept."""

from pathlib import Path

import pytest
import torch
import train_stand_ins as tiny

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.checkpoint import run_checkpoints
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


@pytest.mark.parametrize(
    ("part", "method", "helps"),
    [
        (tiny.TinyLifter, "forward", "in the lifter: .*lora-encoder"),
        (tiny.TinyField, "fuse", "in the field: .*gradient_checkpointing"),
        (tiny.TinyEncoder, "forward", "in the view encoder: .*accumulate"),
    ],
)
def test_the_part_is_named_and_the_steps_before_are_kept(
    part: type, method: str, helps: str, spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(load_spec(spec_file), tmp_path / "whole")
    with monkeypatch.context() as patched:
        fail(part, method, 4, patched)
        with pytest.raises(TuneMV3DError, match=f"out of memory {helps}.*Step 3 is kept"):
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
    with pytest.raises(TuneMV3DError, match=r"CUDA out of memory\. What helps"):
        train(load_spec(spec_file), tmp_path / "run")
    assert not run_checkpoints(tmp_path / "run")
