"""Colours of synthetic pictures."""

import pytest
import torch
from tunemv3d_eval.colour import PALETTE, foreground_colour, mean_colour, named_colour, srgb_to_lab


@pytest.mark.parametrize(
    ("prompt", "colour"),
    [
        ("a green chair with yellow legs", "green"),
        ("a Light Blue armchair", "light blue"),
        ("a gray stool", "grey"),
        ("a coloured chair", None),
        ("a stool", None),
    ],
)
def test_the_first_colour_word_counts(prompt: str, colour: str | None) -> None:
    assert named_colour(prompt) == colour


@pytest.mark.parametrize("name", PALETTE)
def test_every_shade_is_called_by_its_name_in_light_and_shadow(name: str) -> None:
    shade = torch.tensor(PALETTE[name]) / 255
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    masks[..., 2:6, 2:6] = True
    lit = torch.where(masks[:, :, None], shade[:, None, None], torch.ones(()))
    lit[..., :4, :] = torch.where(masks[:, :, None, :4], lit[..., :4, :] * 0.94, lit[..., :4, :])
    assert foreground_colour(lit * 2 - 1, masks) == [name]


def test_the_mean_is_over_the_foreground_of_all_views() -> None:
    images = torch.ones(1, 2, 3, 4, 4)
    masks = torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    masks[0, 0, 0, :3], masks[0, 1, 0, 0] = True, True
    images[0, 0, :, 0, :3], images[0, 1, :, 0, 0] = -1.0, 0.6
    torch.testing.assert_close(mean_colour(images, masks), torch.full((1, 3), 0.8 / 4))


def test_without_foreground_there_is_no_colour() -> None:
    assert foreground_colour(torch.ones(1, 2, 3, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.bool)) == [None]


def test_lab_of_known_colours() -> None:
    # Values of the CIE 1976 L*a*b* of sRGB primaries under D65, as published (for example by Lindbloom).
    rgb = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    lab = [[100, 0, 0], [0, 0, 0], [53.24, 80.09, 67.20], [32.30, 79.19, -107.86]]
    torch.testing.assert_close(srgb_to_lab(rgb), torch.tensor(lab, dtype=torch.float64), atol=0.02, rtol=0)
