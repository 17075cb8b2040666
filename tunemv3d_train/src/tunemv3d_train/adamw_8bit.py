"""The optimizer ``adamw-8bit``: AdamW whose moments take a quarter of the memory, from bitsandbytes."""

from typing import Any

import torch

from tunemv3d_core.console import quiet
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.slots import OptimizerContext
from tunemv3d_train.spec import AdamW8bitSpec


def build(spec: AdamW8bitSpec, groups: list[dict[str, Any]], context: OptimizerContext) -> torch.optim.Optimizer:
    """Build bitsandbytes' AdamW on parameter groups; its eps shrinks with the loss (``context.loss_scale``).

    Raises:
        ComponentError: bitsandbytes is not installed.
    """
    try:
        with quiet():  # it tells what it could not load for processors
            from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise ComponentError(
            "optimizer 'adamw-8bit' needs bitsandbytes: pip install 'tunemv3d-train[8bit]', or leave "
            "optimizer.algorithm at adamw"
        ) from None
    optimizer: torch.optim.Optimizer = AdamW8bit(
        groups, betas=spec.betas, eps=spec.eps * context.loss_scale, is_paged=spec.paged
    )
    return optimizer
