"""Context without autocast: geometry, the signed distance and compositing stay in float32."""

import torch
from torch import Tensor


def full_precision(like: Tensor) -> torch.autocast:
    """Return a context without autocast for the device of ``like``."""
    return torch.autocast(like.device.type, enabled=False)


def result_dtype(like: Tensor) -> torch.dtype:
    """Return the dtype of a result that is computed in float32: float32 under autocast, else that of ``like``."""
    return torch.float32 if torch.is_autocast_enabled(like.device.type) else like.dtype
