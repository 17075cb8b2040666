"""Tensors without numbers that pass for a GPU's: devices, autocast, attention, and what is refused."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunemv3d_train.planning import casting
from tunemv3d_train.planning.casting import Casting
from tunemv3d_train.planning.following import Following
from tunemv3d_train.planning.live_memory import LiveMemory
from tunemv3d_train.planning.parts import AtWork
from tunemv3d_train.planning.repeats import Repeats
from tunemv3d_train.planning.stand_ins import KeepMeta, NoNumbersError, StandIns, backward, unchecked

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")

HEADER = Path(torch.__file__).parent / "include/ATen/autocast_mode.h"

INSIDE = re.compile(r"_thnn|_scaled_dot|native|^frobenius|^upsample|^_upsample|^grid_sampler$")
"""Operators that Python's functions call under another name."""

PYTHON = set("rmatmul rpow square norm interpolate upsample normalize grid_sample multi_head_attention_forward".split())
"""Names that Python alone has."""


def listed(macro: str) -> set[str]:
    """Names in one of the header's lists, as Python calls them."""
    text = HEADER.read_text().partition(f"#define {macro}(_)")[2].partition("\n\n")[0]
    names = {name for name in re.findall(r"_\((\w+)", text) if not INSIDE.search(name)}
    return {name.strip("_").removeprefix("linalg_") for name in names}


@pytest.mark.parametrize(
    ("macro", "names"),
    [
        ("AT_FORALL_LOWER_PRECISION_FP", casting.LOWER),
        ("AT_FORALL_FP32", casting.FULL),
        ("AT_FORALL_FP32_SET_OPT_DTYPE", casting.FULL_RESULT),
        ("AT_FORALL_PROMOTE", casting.WIDEST),
    ],
)
def test_autocast_knows_the_functions_of_torchs_own_lists(macro: str, names: frozenset[str]) -> None:
    assert listed(macro) <= names
    assert names - listed(macro) - PYTHON <= {"native_layer_norm"}


def operations(x: Tensor, conv: nn.Module, norm: nn.Module) -> dict[str, Tensor]:
    """Results of functions of every kind."""
    y = conv(x)
    tokens = y.flatten(2).mT
    return {
        "conv": y,
        "norm": norm(y),
        "silu": F.silu(norm(y)),
        "products": tokens @ tokens.mT,
        "attention": F.scaled_dot_product_attention(tokens[:, None], tokens[:, None], tokens[:, None]),
        "softplus": F.softplus(y),
        "square": y.square(),
        "power": y**3,
        "sum": y.sum(1),
        "mean": y.mean(1),
        "softmax": y.softmax(1),
        "cumsum": y.cumsum(1),
        "larger": F.interpolate(y, scale_factor=2.0),
        "sampled": F.grid_sample(y, torch.zeros(*y.shape[:1], 3, 3, 2, device=y.device), align_corners=False),
        "added": y + x[:, :1],
    }


EXPECTED = {
    **dict.fromkeys(("conv", "products", "attention", "mean"), torch.bfloat16),
    **dict.fromkeys(("norm", "silu", "softplus", "square", "power", "sum", "softmax", "cumsum"), torch.float32),
    **dict.fromkeys(("larger", "sampled", "added"), torch.float32),
}


def test_results_have_the_types_of_cudas_autocast() -> None:
    x = torch.empty(2, 8, 16, 16, device="meta")
    conv, norm = nn.Conv2d(8, 16, 3, padding=1, device="meta"), nn.GroupNorm(4, 16, device="meta")
    with unchecked(), warnings.catch_warnings(), StandIns(GPU), Casting("cuda"), torch.autocast("cuda", torch.bfloat16):
        warnings.simplefilter("error")
        given = operations(x, conv, norm)
    assert {name: each.dtype for name, each in given.items()} == EXPECTED
    with StandIns(GPU), Casting("cuda"):
        assert {each.dtype for each in operations(x, conv, norm).values()} == {torch.float32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_these_types() -> None:
    x, conv, norm = (
        torch.ones(2, 8, 16, 16, device=GPU),
        nn.Conv2d(8, 16, 3, padding=1).to(GPU),
        nn.GroupNorm(4, 16).to(GPU),
    )
    with torch.autocast("cuda", torch.bfloat16):
        assert {name: each.dtype for name, each in operations(x, conv, norm).items()} == EXPECTED


def test_stand_ins_say_that_they_lie_on_the_device_and_so_does_what_is_made_for_it() -> None:
    x = torch.ones(3)
    with StandIns(GPU):
        made = (torch.zeros(2, device="cuda:0"), torch.arange(4, device=GPU), x.to(GPU), x.to("cuda:0"), x.to(GPU)[:2])
        assert all(each.device == GPU and each.is_cuda and each.is_meta for each in made)
        assert x.device.type == "cpu" and not x.is_cuda
    with StandIns(GPU, kernels=False):
        assert made[0].device == GPU and not made[0].is_cuda
    assert made[0].device.type == "meta"


def test_a_kernel_that_asks_for_the_place_of_numbers_is_refused() -> None:
    with StandIns(GPU), pytest.raises(NoNumbersError):
        torch.zeros(2, device=GPU).data_ptr()


def test_a_model_with_meta_tensors_is_moved_as_if_they_were_anywhere() -> None:
    model = nn.Sequential(nn.Linear(2, 3, device="meta"), nn.Linear(3, 4))
    with KeepMeta():
        model.to("cpu", torch.float64)
    assert model[0].weight.is_meta and not model[1].weight.is_meta
    assert model[0].weight.dtype == model[1].weight.dtype == torch.float64


@pytest.mark.parametrize(
    ("place", "dtype", "largest"), [(GPU, torch.bfloat16, 2), (GPU, torch.float32, 4), (CPU, torch.float32, 4)]
)
def test_attention_keeps_no_square_of_its_tokens(place: torch.device, dtype: torch.dtype, largest: int) -> None:
    peaks = []
    for tokens in (1024, 4096):
        memory = LiveMemory("meta", AtWork(), 1)
        with Following([memory]), StandIns(place):
            x = torch.empty(1, 4, tokens, 32, dtype=dtype, device=place, requires_grad=True)
            backward(F.scaled_dot_product_attention(x, x, x).sum())
        peaks.append(memory.peak)
    assert peaks[1] < 4.2 * peaks[0]
    assert peaks[1] < 16 * 4 * 4096 * 32 * largest


def test_what_is_recomputed_in_the_backward_pass_sees_stand_ins_and_their_autocast() -> None:
    seen = []

    def part(x: Tensor) -> Tensor:
        y = conv(x)
        seen.append((y.dtype, y.device))
        return y.float().exp()

    conv = nn.Conv2d(3, 3, 1, device="meta")
    with unchecked(), StandIns(GPU), Casting("cuda"):
        x = torch.empty(1, 3, 8, 8, device=GPU, requires_grad=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = checkpoint(part, x, use_reentrant=False).sum()
        backward(loss)
    assert seen == [(torch.bfloat16, GPU)] * 2
    assert conv.weight.grad is not None and conv.weight.grad.dtype == torch.float32


def test_torch_checks_again_what_it_checked_before() -> None:
    before = torch.cuda.amp.common.amp_definitely_not_available, torch.cuda.is_bf16_supported
    with pytest.raises(ZeroDivisionError), unchecked():
        assert torch.cuda.amp.common.amp_definitely_not_available is not before[0]
        1 / 0  # noqa: B018
    assert (torch.cuda.amp.common.amp_definitely_not_available, torch.cuda.is_bf16_supported) == before


CALLS: dict[str, Callable[[Tensor], object]] = {
    "matmul": lambda x: x.flatten(1) @ x.flatten(1).T,
    "conv": lambda x: F.conv2d(x.requires_grad_(), torch.ones(4, 3, 3, 3, device="meta"), padding=1).sum(),
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last) * 2,
    "group norm": lambda x: F.group_norm(x, 3),
    "sort": lambda x: x.sort(-1),
    "half": lambda x: x.half().mean(0),
    "in place": lambda x: x.clone().add_(1).mul_(2),
    "none": lambda x: torch._foreach_mul_([x.clone()], 2.0),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_repeated_operator_gives_what_it_gave(call: str) -> None:
    def described(given: object) -> object:
        if isinstance(given, Tensor):
            return given.shape, given.stride(), given.dtype, given.device
        return None if given is None else [described(each) for each in given]  # type: ignore[attr-defined]

    def results(run: Repeats | None) -> list[object]:
        shown: list[object] = []
        with Following([lambda func, args, kwargs, given: shown.append((str(func), described(given)))], run):
            for _ in range(2):
                given = CALLS[call](torch.empty(2, 3, 8, 8, device="meta"))
                if isinstance(given, Tensor) and given.requires_grad:
                    given.backward()
        return shown

    alone, repeated = results(None), results(Repeats())
    assert len(alone) == len(repeated) > 1
    # What writes in its place and gives nothing is not run.
    assert [each for each in alone if "foreach" not in str(each)] == [
        each for each in repeated if "foreach" not in str(each)
    ]


def test_a_repeated_operator_gives_new_tensors() -> None:
    memory = LiveMemory("meta", AtWork(), 1)
    with Following([memory], Repeats()):
        kept = [torch.empty(10, device="meta").exp() for _ in range(3)]
    assert memory.peak == 4 * 10 * 4 and len({each.untyped_storage()._cdata for each in kept}) == 3
