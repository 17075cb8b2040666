"""Autocast of tensors without numbers, which torch's own leaves as they are.

Names and rules are those of ``ATen/autocast_mode.h``, whose lists a test compares with these.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import TensorWeakRef, WeakIdKeyDictionary

LOWER = frozenset(
    "conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution prelu addmm addmv "
    "addr matmul rmatmul einsum mm mv vecdot linear addbmm baddbmm bmm chain_matmul multi_dot lstm_cell gru_cell "
    "rnn_tanh_cell rnn_relu_cell scaled_dot_product_attention multi_head_attention_forward".split()
)
"""Functions of Python's torch that compute in the lower precision."""

FULL = frozenset(
    "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow rpow square softplus "
    "layer_norm native_layer_norm rms_norm group_norm nuclear_norm cosine_similarity poisson_nll_loss "
    "cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss "
    "mse_loss margin_ranking_loss multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss "
    "binary_cross_entropy_with_logits dist pdist cdist renorm logsumexp interpolate upsample normalize".split()
)
"""Those that compute in float32, of GPUs alone."""

FULL_RESULT = frozenset("prod softmax log_softmax cumprod cumsum vector_norm matrix_norm sum norm".split())
"""Those that give float32 without a copy of what they are given, of GPUs alone."""

WIDEST = frozenset("addcdiv addcmul atan2 bilinear cross dot vdot grid_sample index_put tensordot scatter_add".split())
"""Those that compute in the widest type of what they are given."""


class Casting(TorchFunctionMode):
    """Inside, meta tensors are cast wherever autocast of a type of devices is on.

    Args:
        device_type: "cuda", "mps" or "cpu".
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self._type = device_type
        self._casts = WeakIdKeyDictionary()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch.is_autocast_enabled(self._type):
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "").strip("_").removeprefix("linalg_")
        dtype = None
        if name in LOWER:
            dtype = torch.get_autocast_dtype(self._type)
        elif name in WIDEST:
            widest = any(each.dtype == torch.float32 for each in _eligible((*args, *kwargs.values())))
            dtype = torch.float32 if widest else None
        elif self._type != "cpu" and name in FULL:
            dtype = torch.float32
        elif (
            self._type != "cpu"
            and name in FULL_RESULT
            and kwargs.get("dtype") is None
            and next(_eligible(args[:1]), None) is not None
        ):
            kwargs = {**kwargs, "dtype": torch.float32}
        if dtype is not None:
            args = self._cast(args, dtype)
            kwargs = {key: self._cast(value, dtype) for key, value in kwargs.items()}
        return func(*args, **kwargs)

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if type(value) in (list, tuple):
            return type(value)(self._cast(each, dtype) for each in value)
        if next(_eligible([value]), None) is None or value.dtype == dtype:
            return value
        # torch keeps the casts of trained weights until autocast ends; the graph keeps those that matter as long.
        if not (value.requires_grad and value.is_leaf and dtype != torch.float32 and torch.is_autocast_cache_enabled()):
            return value.to(dtype)
        known = self._casts[value]() if value in self._casts else None
        if known is None or (known.grad_fn is None and torch.is_grad_enabled()):
            known = value.to(dtype)
            self._casts[value] = TensorWeakRef(known)
        return known


def _eligible(values: Any) -> Iterator[Tensor]:
    """Yield the tensors that autocast may cast."""
    for value in values:
        if type(value) in (list, tuple):
            yield from _eligible(value)
        elif isinstance(value, Tensor) and value.is_meta and value.is_floating_point():
            if value.dtype != torch.float64:
                yield value
