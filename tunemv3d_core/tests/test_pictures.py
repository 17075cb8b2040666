"""Cutting views out of their white ground."""

import torch

from tunemv3d_core.pictures import cut_out


def test_only_white_that_is_joined_to_the_edge_is_ground() -> None:
    image = torch.ones(1, 3, 12, 12)
    image[..., 3:9, 3:9] = 0.2
    image[..., 5:7, 5:7] = 1.0
    alpha = cut_out(image, torch.zeros(1, 4, 4))[0, 3]
    expected = torch.zeros(12, 12)
    expected[3:9, 3:9] = 1
    assert torch.equal(alpha, expected)


def test_white_where_the_field_says_that_the_object_is_stays() -> None:
    opacity = torch.zeros(1, 12, 12)
    opacity[:, 2:5, 2:5] = 1
    assert torch.equal(cut_out(torch.ones(1, 3, 12, 12), opacity)[:, 3], opacity)
