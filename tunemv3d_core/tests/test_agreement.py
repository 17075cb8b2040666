"""Silhouettes that agree or do not."""

import torch

from tunemv3d_core.agreement import disagreement, silhouettes_iou


def test_silhouettes_are_compared_over_all_views() -> None:
    """4 and 8 of 16 pixels, of which 2 are common: 2 of 10."""
    one, other = torch.zeros(2, 2, 4), torch.zeros(2, 2, 4)
    one[0, 0], other[0, 0, :2], other[1] = 1, 0.9, 0.6
    other[1, 1, 2:] = 0.4
    assert silhouettes_iou(one, other) == 2 / 10
    assert silhouettes_iou(torch.zeros(1, 2, 2), torch.full((1, 2, 2), 0.5)) == 1


def test_only_what_hardly_agrees_is_told() -> None:
    assert disagreement(0.3) == "" and disagreement(0.8) == ""
    told = disagreement(0.043)
    assert "0.04" in told and "does not know this object" in told and "docs/troubleshooting.md" in told
