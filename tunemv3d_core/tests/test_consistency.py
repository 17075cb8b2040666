import numpy as np
import pytest

from tunemv3d_core.consistency import consistency_schedule, format_consistency, parse_consistency
from tunemv3d_core.errors import TuneMV3DError


@pytest.mark.parametrize("steps", [1, 2, 5, 25])
@pytest.mark.parametrize("values", [(1.5,), (2.0, 1.0), (0.0, 3.0, 1.0, 1.0)])
def test_values_are_spread_evenly_over_the_steps(values: tuple[float, ...], steps: int) -> None:
    places = np.arange(steps) * (len(values) - 1) / max(1, steps - 1)
    expected = np.interp(places, np.arange(len(values)), values)
    np.testing.assert_allclose(consistency_schedule(values, steps), expected)


def test_text_is_read_as_it_is_written() -> None:
    assert parse_consistency("1.5") == 1.5 and parse_consistency("2:1:0") == (2.0, 1.0, 0.0)
    assert format_consistency(parse_consistency("2:0.5")) == "2:0.5" and format_consistency(1) == "1"


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1:-2", "", "much", "1:", "1,2"])
def test_text_that_is_no_k_is_refused(text: str) -> None:
    with pytest.raises(TuneMV3DError, match=r"at least 0|give a number"):
        parse_consistency(text)


def test_an_empty_schedule_is_refused() -> None:
    with pytest.raises(TuneMV3DError, match="not empty"):
        consistency_schedule((), 4)
