"""Sizes of pictures as people write them."""

from tunemv3d_core.errors import DatasetError


def read_size(resolution: str) -> tuple[int, int]:
    """Read (h, w) from "128" or "96x64".

    Raises:
        DatasetError: neither, or fewer than 8 or more than 16384 pixels.
    """
    width, cross, height = resolution.partition("x")
    sides = (height if cross else width, width)
    if not all(side.isdecimal() and 8 <= int(side) <= 16384 for side in sides):
        raise DatasetError(f"--resolution {resolution}: one number or WIDTHxHEIGHT, each from 8 to 16384 pixels")
    return int(sides[0]), int(sides[1])
