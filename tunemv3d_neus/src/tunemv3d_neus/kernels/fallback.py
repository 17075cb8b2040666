"""What happens where a kernel cannot be used: one line says so, and the plain path stands in."""

import warnings
from collections.abc import Callable

from tunemv3d_core.errors import TuneMV3DWarning


def succeeds(probe: Callable[[], None]) -> bool:
    """Return whether a probe runs; tell of whatever a compiler raises."""
    try:
        probe()
    except Exception as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        tell_of_plain_path(f"{type(error).__name__}: {first[:200]}")
        return False
    return True


def tell_of_plain_path(reason: str) -> None:
    """Warn that the field is computed without fused kernels: the same result, slower and with more memory."""
    message = f"the field's fused kernels cannot be used ({reason}); the plain network gives the same, more slowly"
    warnings.warn(message, TuneMV3DWarning, stacklevel=2)
