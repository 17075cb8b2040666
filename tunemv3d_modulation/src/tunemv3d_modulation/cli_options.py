"""Read the arguments of ``tunemv3d sample``: prompts, seeds, cameras and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.prompts import read_prompts

if TYPE_CHECKING:
    from PIL.Image import Image

    from tunemv3d_core.cameras import Cameras


MOST_SEEDS = 10_000
"""Most objects of one prompt that a folder has names for."""


def gather_prompts(given: list[str], file: Path | None) -> list[str]:
    """Return the prompts of the command line, then those of a file (``tunemv3d_core.io.prompts``).

    Raises:
        TuneMV3DError: none at all, an empty one, or a file that cannot be read.
    """
    prompts = [*given, *(read_prompts(file) if file is not None else [])]
    if not prompts:
        raise TuneMV3DError("no prompt: say what object to make, such as 'a red office chair', or give --prompts FILE")
    return prompts


def read_seeds(words: str) -> list[int]:
    """Read seeds such as "7", "0,3,5" or "0-3".

    Raises:
        TuneMV3DError: something else, or more than ``MOST_SEEDS``.
    """
    seeds: list[int] = []
    for word in words.split(","):
        first, dash, last = word.strip().partition("-")
        if not first.isdecimal() or (dash and not (last.isdecimal() and int(first) <= int(last))):
            raise TuneMV3DError(f"--seeds {words}: numbers such as 7, 0,3,5 or 0-3 are expected")
        numbers = range(int(first), int(last or first) + 1)
        if len(seeds) + max(0, numbers.stop - numbers.start) > MOST_SEEDS:
            raise TuneMV3DError(f"--seeds {words}: more than {MOST_SEEDS:,}; sample them by several commands")
        seeds += numbers
    return seeds


def read_cameras(
    file: Path | None, views: int | None, elevation: float, trained: int, aspect: float = 1.0
) -> "Cameras":
    """Return cameras ``n``: those of a ``transforms.json``, or ``views`` of them around the object.

    Args:
        file: ``transforms.json``, or the folder that holds it.
        views: None stands for ``trained``.
        elevation: degrees.
        trained: number of views in training.
        aspect: width over height of the views.

    Raises:
        TuneMV3DError: both are given, or the file cannot be read.
    """
    from tunemv3d_core.cameras import Cameras
    from tunemv3d_core.io.posed_images import read_object

    if file is None:
        return Cameras.orbit(trained if views is None else views, elevation=elevation, aspect=aspect)
    if views is not None:
        raise TuneMV3DError("--views and --cameras: give one of them")
    if not file.is_dir() and file.name != "transforms.json":
        raise TuneMV3DError(f"--cameras {file}: a transforms.json is expected, or the folder that holds one")
    return read_object(file if file.is_dir() else file.parent).cameras


def read_images(given: list[str]) -> "dict[int, Image]":
    """Read pictures by view, from arguments such as ``front.png`` and ``4=back.png``.

    Raises:
        TuneMV3DError: not a picture, or two of one view.
    """
    from PIL import Image

    found: dict[int, Image.Image] = {}
    for words in given:
        view, equals, file = words.partition("=")
        view, file = (view, file) if equals and view.isdecimal() else ("0", words)
        if int(view) in found:
            raise TuneMV3DError(f"--image {words}: view {view} has a picture already; say which with VIEW=FILE")
        try:
            found[int(view)] = Image.open(file)
            found[int(view)].load()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise TuneMV3DError(f"--image {words}: cannot be read as a picture: {error}") from None
    return found


def note_images(given: "Mapping[int, Image]", size: tuple[int, int]) -> list[str]:
    """Return sentences on pictures that are not taken as they are.

    Args:
        given: by view.
        size: (H, W) of the views; white is put beside a picture of another shape.
    """
    notes = []
    for view, picture in given.items():
        if picture.width * size[0] != picture.height * size[1]:
            notes.append(f"the picture of view {view} is {picture.width} x {picture.height}: white is put beside it")
        if (frames := getattr(picture, "n_frames", 1)) > 1:
            notes.append(f"the picture of view {view} moves: the first of its {frames} frames is taken")
    return notes
