"""``all_finite`` against ``isfinite``, wherever the odd number is."""

import pytest
import torch

from tunemv3d_core.finite import all_finite


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -float("inf")])
def test_one_odd_number_is_seen_wherever_it_is(dtype: torch.dtype, value: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (1, 7, 64, 1000):
        for place in {0, size // 2, size - 1}:
            tensor = torch.randn(size, generator=generator).to(dtype)
            tensor[place] = value
            assert bool(all_finite(tensor)) == bool(tensor.isfinite().all()) == (value == 0.0)


def test_the_largest_numbers_are_finite() -> None:
    largest = torch.finfo(torch.float16).max
    assert bool(all_finite(torch.tensor([[largest, -largest]], dtype=torch.float16)))


def test_nothing_is_finite() -> None:
    assert bool(all_finite(torch.empty(0, 3)))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_whole_numbers_are_finite(dtype: torch.dtype) -> None:
    assert bool(all_finite(torch.ones(3, dtype=dtype)))


def test_what_needs_a_gradient_and_is_not_contiguous() -> None:
    tensor = torch.ones(4, 5).T[::2].requires_grad_()
    told = all_finite(tensor)
    assert bool(told) and told.shape == () and not told.requires_grad
