"""Device on which a command computes, and the numbers that it computes with."""

import torch

from tunemv3d_core.errors import TuneMV3DError

TRAINED_IN = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Dtypes by the words of a spec's ``train.precision``."""


def preferred_device() -> str:
    """Return the type of device that is taken where none is named: "cuda", else "mps" (Apple's), else "cpu"."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def find_device(name: str = "") -> torch.device:
    """Find a device by its name in torch, such as "cpu" or "cuda:1"; "" is ``preferred_device``.

    Raises:
        TuneMV3DError: torch does not know it or finds none here.
    """
    try:
        device = torch.device(name or preferred_device())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise TuneMV3DError(f"device '{name}' cannot be used here ({reason}); choose cpu") from None
    return device


def check_dtype(device: torch.device, name: str) -> torch.dtype:
    """Return the dtype of a name such as "float16" if the device can compute with it.

    Raises:
        TuneMV3DError: it cannot.
    """
    dtype: torch.dtype = getattr(torch, name)
    try:
        # The two operations of which networks are made.
        ones = torch.ones(1, 1, 4, 4, dtype=dtype, device=device)
        torch.nn.functional.conv2d(ones @ ones, ones)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise TuneMV3DError(
            f"device '{device}' cannot compute in {name} ({reason}); take float32, or another device"
        ) from None
    return dtype


def find_dtype(device: torch.device, name: str, precision: str) -> torch.dtype:
    """Find the dtype of a name; "auto" is what the model was trained in where the device is quick at it, else float32.

    Args:
        device: that computes.
        name: "auto", "float32", "float16" or "bfloat16".
        precision: a spec's ``train.precision``.

    Raises:
        TuneMV3DError: the device cannot compute with the named dtype.
    """
    if name != "auto":
        return check_dtype(device, name)
    trained = TRAINED_IN[precision]
    return trained if _is_quick(device, trained) else torch.float32


def _is_quick(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether a device computes with half-precision numbers faster than with float32."""
    if device.type == "cuda":
        return dtype != torch.bfloat16 or torch.cuda.is_bf16_supported(including_emulation=False)
    # Apple's emulates bfloat16 on many systems; processors are slower in either.
    return device.type == "mps" and dtype == torch.float16
