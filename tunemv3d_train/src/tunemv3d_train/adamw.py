"""The optimizer ``adamw``."""

import warnings
from typing import Any

import torch

from tunemv3d_core.slots import OptimizerContext
from tunemv3d_train.spec import AdamWSpec


def build(spec: AdamWSpec, groups: list[dict[str, Any]], context: OptimizerContext) -> torch.optim.Optimizer:
    """Build torch's fused AdamW on parameter groups; its eps shrinks with the loss (``context.loss_scale``)."""
    eps = spec.eps * context.loss_scale
    if context.captured:
        # It runs eagerly while the graph warms up, of which AdamW would warn.
        warnings.filterwarnings("ignore", message="This instance was constructed with capturable=True")
    return torch.optim.AdamW(groups, betas=spec.betas, eps=eps, fused=True, capturable=context.captured)
