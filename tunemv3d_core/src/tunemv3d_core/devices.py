"""Device on which a command computes."""

import torch

from tunemv3d_core.errors import TuneMV3DError


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
