"""Precision by device: Apple's GPU is pretended, because none is here."""

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import SpecError
from tunemv3d_train.accelerator import accelerate


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("is_available", "is_built"):
        monkeypatch.setattr(torch.backends.mps, name, lambda: True)
    AcceleratorState._reset_state(True)
    yield monkeypatch
    AcceleratorState._reset_state(True)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_apples_gpu_trains_in_the_precision_that_is_asked_for(apple: pytest.MonkeyPatch, precision: str) -> None:
    apple.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: True)
    accelerator = accelerate(load_spec("chairs-mini", [f"train.precision={precision}"]))
    assert accelerator.device.type == "mps"
    with accelerator.autocast():
        assert torch.is_autocast_enabled("mps") == (precision != "fp32")
        if precision != "fp32":
            assert torch.get_autocast_dtype("mps") == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def test_an_older_apple_without_bf16_says_what_to_do(apple: pytest.MonkeyPatch) -> None:
    apple.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: False)
    with pytest.raises(SpecError, match=r"'bf16' cannot be had on mps.*use 'fp32'"):
        accelerate(load_spec("chairs-mini", ["train.precision=bf16"]))


def test_a_process_may_train_once_more_in_another_precision() -> None:
    for precision, kind in (("fp32", None), ("bf16", torch.bfloat16), ("fp32", None)):
        accelerator = accelerate(load_spec("chairs-mini", [f"train.precision={precision}"]))
        with accelerator.autocast():
            layer = torch.nn.Linear(2, 2, device=accelerator.device)
            assert layer(torch.ones(1, 2, device=accelerator.device)).dtype == (kind or torch.float32)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_casts_of_weights_are_cached_unless_steps_are_captured(accumulate: int) -> None:
    spec = load_spec("chairs-mini", ["train.cuda_graph=true", f"train.accumulate={accumulate}"])
    is_captured = torch.cuda.is_available() and accumulate == 1
    assert accelerate(spec).autocast_handler.cache_enabled != is_captured
