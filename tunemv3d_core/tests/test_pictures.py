"""Cutting views out of their white ground, against discs whose coverage of every pixel is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tunemv3d_core.viz.pictures import GROUND, cut_out


def disc(radius: float, size: int = 48, fine: int = 16) -> Tensor:
    """How much of each pixel a disc covers, ``H W``: counted on a grid ``fine`` times as fine."""
    at = (np.arange(size * fine) + 0.5) / fine - size / 2
    inside = at[:, None] ** 2 + at**2 < radius**2
    covered = inside.reshape(size, fine, size, fine).mean((1, 3))
    return torch.from_numpy(covered).float()


def on(ground: float, colour: Tensor, covered: Tensor) -> Tensor:
    return colour[:, None, None] * covered + ground * (1 - covered)


COLOURS = {"red": (0.8, 0.1, 0.15), "black": (0.05, 0.05, 0.06), "wood": (0.75, 0.55, 0.4)}


@pytest.mark.parametrize("radius", [15.3, 2.4])
@pytest.mark.parametrize("name", COLOURS)
def test_a_discs_edge_is_as_clear_as_the_disc_covers_it_and_bears_its_colour(name: str, radius: float) -> None:
    colour, covered = torch.tensor(COLOURS[name]), disc(radius)
    seen = (disc(radius + 1.5) > 0.5).float()  # the field's outline is not the picture's
    rgba = cut_out(on(1, colour, covered)[None], seen[None])[0]
    assert (rgba[3] - covered).abs().max() < 0.1
    edge = rgba[3] > 0.2
    torch.testing.assert_close(rgba[:3, edge], colour[:, None].expand(-1, int(edge.sum())), atol=0.1, rtol=0)
    for ground in (0.0, 0.5):
        assert (rgba[:3] * rgba[3] + ground * (1 - rgba[3]) - on(ground, colour, covered)).abs().max() < 0.1


def test_on_white_a_view_is_what_it_was() -> None:
    texture = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0)) * 0.8
    image = texture * disc(15) + 1 - disc(15)
    rgba = cut_out(image[None], disc(14)[None])[0]
    # Where nothing counts as covered, the view was nearly white.
    assert (rgba[:3] * rgba[3] + 1 - rgba[3] - image).abs().max() < GROUND
    inner = disc(12) == 1
    assert bool((rgba[3][inner] == 1).all()) and torch.equal(rgba[:3, inner], image[:, inner])


def test_what_the_field_sees_stays_though_it_is_white() -> None:
    rgba = cut_out(torch.ones(1, 3, 48, 48), disc(15)[None])[0]
    assert bool((rgba[3][disc(12) == 1] == 1).all()) and not rgba[3][disc(17) == 0].any()


def test_the_fields_outline_may_be_coarse_and_what_it_misses_is_drawn() -> None:
    image = on(1, torch.tensor(COLOURS["red"]), disc(10))
    image[:, 2:6, 20:28] = 0.3
    coarse = torch.nn.functional.avg_pool2d(disc(10)[None], 4)
    alpha = cut_out(image[None], coarse)[0, 3]
    assert bool((alpha[2:6, 20:28] > 0.9).all()) and bool((alpha[disc(8) == 1] == 1).all())


def test_a_hole_shows_the_ground() -> None:
    ring = disc(20) - disc(8)
    alpha = cut_out(on(1, torch.tensor(COLOURS["wood"]), ring)[None], ring[None])[0, 3]
    assert (alpha - ring).abs().max() < 0.1


def test_faint_noise_beside_the_object_is_ground() -> None:
    image = on(1, torch.tensor(COLOURS["red"]), disc(10))
    image[:, :6, :6] -= 0.9 * 2 * GROUND
    assert not cut_out(image[None], disc(10)[None])[0, 3, :6, :6].any()
