"""Tensors without numbers that pass for tensors of a device, so that a step can be followed where there is none.

They are torch's meta tensors: they have shapes, dtypes, storages and an autograd graph, and cost no memory. A backward
pass of torch's own fake tensors ends the process where they are said to be of a GPU and there is none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from tunemv3d_core.errors import TuneMV3DError

META = torch.device("meta")

FLASH_CHANNELS = 256
"""Channels of a head up to which torch takes flash attention."""


class NoNumbersError(TuneMV3DError):
    """Code asked for the place of a tensor's numbers, and it has none."""


class KeepMeta(TorchFunctionMode):
    """Inside, a meta tensor stays one when it is moved: a model without its weights can be built like any other."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to and args[0].is_meta:
            args, kwargs = _replaced(args, kwargs or {}, lambda _: META)
        return func(*args, **(kwargs or {}))


class StandIns(TorchFunctionMode):
    """Inside, meta tensors say that they lie on ``device``, and what is made for that device is one of them.

    Attention is by the kernels that torch takes there, which keep no square of the tokens.

    Args:
        device: with its index where it is a GPU.
        kernels: whether tensors of a GPU say so (``is_cuda``), for which components choose kernels of their own.
    """

    def __init__(self, device: torch.device, kernels: bool = True) -> None:
        super().__init__()
        self._device, self._is_cuda = device, kernels and device.type == "cuda"

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        asked = getattr(func, "__self__", None)
        if asked is Tensor.device:
            return self._device if args[0].is_meta else func(*args)
        if asked is Tensor.is_cuda and args[0].is_meta:
            return self._is_cuda
        if func is Tensor.data_ptr and args[0].is_meta:
            raise NoNumbersError("a kernel asks for the place of a tensor's numbers")
        if func is scaled_dot_product_attention and self._device.type in ("cuda", "cpu"):
            return _attention(self._device.type, *args, **kwargs)
        args, kwargs = _replaced(args, kwargs, lambda device: META if device.type == self._device.type else device)
        return func(*args, **kwargs)


def _replaced(args: Any, kwargs: Any, place: Callable[[torch.device], torch.device]) -> tuple[Any, Any]:
    """Put other devices in the place of those among arguments; ``tensor.to`` may be given one by its name."""

    def changed(value: Any) -> Any:
        return place(value) if isinstance(value, torch.device) else value

    if isinstance(kwargs.get("device"), str):
        kwargs = {**kwargs, "device": torch.device(kwargs["device"])}
    if len(args) > 1 and isinstance(args[0], Tensor) and isinstance(args[1], str):
        args = (args[0], torch.device(args[1]), *args[2:])
    return tuple(map(changed, args)), {name: changed(value) for name, value in kwargs.items()}


def _attention(
    device_type: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Attend by flash attention, on a GPU in half precision alone and else by the memory-efficient kernel."""
    attended: Tensor
    if device_type == "cpu":
        on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        attended = on_cpu(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
        return attended
    half = query.dtype in (torch.bfloat16, torch.float16)
    if half and attn_mask is None and query.shape[-1] <= FLASH_CHANNELS:
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        attended = flash(query, key, value, dropout_p, is_causal, scale=scale)[0]
        return attended
    efficient = torch.ops.aten._scaled_dot_product_efficient_attention
    differentiated = torch.is_grad_enabled() and any(each.requires_grad for each in (query, key, value))
    attended = efficient(query, key, value, attn_mask, differentiated, dropout_p, is_causal, scale=scale)[0]
    return attended


@contextmanager
def unchecked() -> Iterator[None]:
    """Leave out what torch would ask of a device or of numbers: whether there is a GPU that has bfloat16, before it
    switches autocast on, and whether what is recomputed lies where it lay, of tensors that pass for others.
    """
    asked_of = torch.utils.checkpoint._allowed_determinism_checks_to_fns
    before = torch.cuda.amp.common.amp_definitely_not_available, torch.cuda.is_bf16_supported, asked_of["default"]
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.cuda.is_bf16_supported = lambda including_emulation=True: True
    asked_of["default"] = asked_of["none"]
    try:
        yield
    finally:
        torch.cuda.amp.common.amp_definitely_not_available, torch.cuda.is_bf16_supported, asked_of["default"] = before


def backward(loss: Tensor) -> None:
    """Differentiate a loss; what the backward pass computes again sees stand-ins too.

    ``loss.backward()`` would switch every mode off meanwhile, because it asks them first.
    """
    ones = torch.ones_like(loss)
    engine = torch.autograd.Variable._execution_engine  # type: ignore[attr-defined]
    engine.run_backward((loss,), (ones,), False, False, (), allow_unreachable=True, accumulate_grad=True)
