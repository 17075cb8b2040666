"""Colours of synthetic pictures."""

import pytest
import torch

from tunemv3d_core.viz.colour_words import PALETTE
from tunemv3d_eval.metrics.colour import colour_words, foreground_colour, named_colour, oklab


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
    shade = torch.tensor(list(bytes.fromhex(PALETTE[name][0]))) / 255
    masks = torch.zeros(1, 2, 8, 8, dtype=torch.bool)
    masks[..., 2:6, 2:6] = True
    lit = torch.where(masks[:, :, None], shade[:, None, None], torch.ones(()))
    lit[..., :4, :] = torch.where(masks[:, :, None, :4], lit[..., :4, :] * 0.94, lit[..., :4, :])
    assert foreground_colour(lit * 2 - 1, masks) == [name]


def test_the_foreground_of_all_views_votes() -> None:
    images, masks = torch.ones(1, 2, 3, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    orange, black = (torch.tensor(list(bytes.fromhex(PALETTE[name][0]))) / 127.5 - 1 for name in ("orange", "black"))
    images[0, 0, :, 0], images[0, 1, :, 1] = orange[:, None], black[:, None]
    masks[0, 0, 0], masks[0, 1, 1, :3] = True, True
    assert foreground_colour(images, masks) == ["orange"]
    masks[0, 0, 0, :2] = False
    assert foreground_colour(images, masks) == ["black"]


def test_without_foreground_there_is_no_colour() -> None:
    assert foreground_colour(torch.ones(1, 2, 3, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.bool)) == [None]


def test_oklab_of_known_colours() -> None:
    # Values of the CSS Color 4 specification's own conversion.
    rgb = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    lab = [[1, 0, 0], [0, 0, 0], [0.62796, 0.22486, 0.12585], [0.45201, -0.03246, -0.31153]]
    torch.testing.assert_close(oklab(rgb), torch.tensor(lab, dtype=torch.float64), atol=2e-4, rtol=0)


def test_the_words_are_those_of_the_captions() -> None:
    captions = pytest.importorskip("tunemv3d_data.colours")
    assert set(captions.COLOURS) == set(PALETTE)
    pixels = torch.randint(0, 256, (2000, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    theirs = [list(captions.COLOURS)[k] for k in captions.colour_names(pixels.numpy())]
    ours = [list(PALETTE)[k] for k in colour_words(pixels.double() / 255)]
    # Captions round colours to cells 8 levels wide, so that a few on a border go to the neighbour.
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) > 0.93 * len(pixels)
