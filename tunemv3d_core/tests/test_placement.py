"""The options on where and how a model computes."""

import pytest
import torch

from tunemv3d_core import devices
from tunemv3d_core.cli.model_options import read_placement
from tunemv3d_core.devices import check_dtype, find_dtype
from tunemv3d_core.errors import TuneMV3DError

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cpu", "half", "none"), "--dtype half: one of auto, float32, float16, bfloat16 is expected"),
        (("cpu", "auto", "all"), "--offload all: one of none, model, sequential is expected"),
        (("cpu", "auto", "model"), "--offload model: keeps parts of the model off an accelerator, and 'cpu' is none"),
        (("cpu", "auto", "sequential"), "--offload sequential: keeps parts"),
        (("tpu", "auto", "none"), "device 'tpu' cannot be used here"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(arguments: tuple[str, str, str], message: str) -> None:
    with pytest.raises(TuneMV3DError, match=message) as told:
        read_placement(*arguments)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("device", "precision", "native", "wanted"),
    [
        (CPU, "bf16", False, torch.float32),
        (CPU, "fp16", False, torch.float32),
        (CUDA, "bf16", True, torch.bfloat16),
        (CUDA, "bf16", False, torch.float32),
        (CUDA, "fp16", False, torch.float16),
        (CUDA, "fp32", True, torch.float32),
        (MPS, "bf16", False, torch.float32),
        (MPS, "fp16", False, torch.float16),
    ],
)
def test_auto_is_what_training_used_where_the_device_is_quick_at_it(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, precision: str, native: bool, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert find_dtype(device, "auto", precision) == wanted


def test_a_dtype_that_is_named_is_taken_on_a_processor_too() -> None:
    place = read_placement("cpu", "bfloat16", "none")
    assert find_dtype(place.device, place.dtype, "fp32") == torch.bfloat16 and place.loads_on == CPU


def test_a_dtype_that_the_device_lacks_is_refused_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object) -> None:
        raise RuntimeError("\"conv2d\" not implemented for 'Half'\nmore")

    monkeypatch.setattr(devices.torch.nn.functional, "conv2d", lacking)
    with pytest.raises(TuneMV3DError, match=r"device 'cpu' cannot compute in float16 .*; take float32") as told:
        check_dtype(CPU, "float16")
    assert "\n" not in str(told.value)
