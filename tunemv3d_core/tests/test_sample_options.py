"""One merged, validated set of sampling options."""

from typing import Any

import pytest

from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.errors import SpecError, TuneMV3DError
from tunemv3d_core.ports import BackbonePorts
from tunemv3d_core.sampling import latent_size

OWN = SampleSpec(steps=7, guidance=2.0, consistency=(2.0, 1.0), shared_noise=True, scheduler="ddim")


def test_what_is_given_takes_the_place_of_ones_own_and_none_does_not() -> None:
    merged = OWN.merged(steps=3, guidance=None, consistency=0, shared_noise=False, scheduler="")
    assert merged == SampleSpec(steps=3, guidance=2.0, consistency=0.0, shared_noise=False, scheduler="")
    assert OWN.merged() == OWN and OWN.steps == 7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps: should be greater than or equal to 1, got 0"),
        ({"steps": 2.5}, "steps: should be a valid integer"),
        ({"guidance": float("nan")}, "guidance: should be a finite number, got NaN"),
        ({"consistency": [1, -1]}, r"consistency: K should be a number of at least 0, .* got \[1, -1\]"),
        ({"step": 4}, r"step: unknown\. Did you mean 'steps'\?"),
        ({"steps": -1, "guidance": -1}, "steps: .*; guidance: .*"),
    ],
)
def test_an_option_out_of_its_range_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"^{message}"):
        OWN.merged(**given)


def test_sizes_are_whole_numbers_of_latent_cells() -> None:
    ports = BackbonePorts(4, 32, 8, 5, (), "epsilon", 1000)
    assert latent_size(ports, None) == (32, 32) and latent_size(ports, (64, 8)) == (8, 1)
    with pytest.raises(TuneMV3DError, match=r"^sample\.size: \[64, 3\] should be multiples of 8 pixels.* \[64, 8\]"):
        latent_size(ports, (64, 3))
