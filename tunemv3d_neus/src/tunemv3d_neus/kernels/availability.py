"""Whether a device runs the kernels: an old GPU, no compiler or one that fails leave the plain torch functions."""

import functools
from importlib.util import find_spec

import torch

from tunemv3d_core.planned import kernels_planned
from tunemv3d_neus.kernels.fallback import succeeds, tell_of_plain_path

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
