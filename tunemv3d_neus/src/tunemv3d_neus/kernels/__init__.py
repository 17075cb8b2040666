"""Triton kernels. Imported only where Triton is installed; the plain torch functions beside them are the reference."""

import functools
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch

from tunemv3d_core.errors import TuneMV3DWarning
from tunemv3d_core.planned import kernels_planned

HAVE_TRITON = find_spec("triton") is not None

LEAST_CAPABILITY = (8, 0)
"""Compute capability from which matrix units multiply bfloat16 and tf32."""


def takes_kernels(device: torch.device) -> bool:
    """Return whether the kernels compute what lies on a device. A GPU that is planned for is taken to run them."""
    planned = kernels_planned()
    return kernels_run(device) if planned is None else planned and device.type == "cuda" and HAVE_TRITON


@functools.cache
def kernels_run(device: torch.device) -> bool:
    """Return whether a device runs the kernels. A GPU or a compiler that cannot is told of once."""
    if device.type != "cuda" or not HAVE_TRITON:
        return False
    if torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        tell_of_plain_path(f"{torch.cuda.get_device_name(device)} is too old for them")
        return False
    from tunemv3d_neus.kernels.probes import probe_mean_variance

    return succeeds(lambda: probe_mean_variance(device))


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
