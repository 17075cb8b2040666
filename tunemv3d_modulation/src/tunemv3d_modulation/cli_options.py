"""Read the arguments of ``tunemv3d sample``: prompts, seeds, cameras and pictures."""

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
    from tunemv3d_core.io.pictures import open_picture

    found: dict[int, Image] = {}
    for words in given:
        view, equals, file = words.partition("=")
        view, file = (view, file) if equals and view.isdecimal() else ("0", words)
        if int(view) in found:
            raise TuneMV3DError(f"--image {words}: view {view} has a picture already; say which with VIEW=FILE")
        try:
            found[int(view)] = open_picture(Path(file))
            found[int(view)].load()
        except (OSError, ValueError, SyntaxError) as error:
            raise TuneMV3DError(f"--image {words}: cannot be read as a picture: {error}") from None
    return found


def read_given(given: list[str], cut_out: str, as_is: bool) -> "tuple[dict[int, Image], list[str]]":
    """Read given pictures by view and cut their objects out.

    Args:
        given: arguments, see ``read_images``.
        cut_out: model that removes backgrounds, see ``tunemv3d_modulation.cut_out``.
        as_is: leave them as they are.

    Returns:
        The pictures, and sentences on what was done.

    Raises:
        TuneMV3DError: a picture that cannot be used, or options that contradict each other.
    """
    if as_is and cut_out:
        raise TuneMV3DError("--as-is and --cut-out: give one of them")
    pictures = read_images(given)
    notes = [
        f"the picture of view {view} moves: the first of its {count} frames is taken"
        for view, picture in pictures.items()
        if (count := getattr(picture, "n_frames", 1)) > 1
    ]
    if as_is or not pictures:
        return pictures, notes
    # Heavy: scipy.
    from tunemv3d_modulation.given_pictures import cut_objects

    cut, done = cut_objects(pictures, cut_out)
    return cut, notes + done


def place_given(
    pictures: "dict[int, Image]", size: tuple[int, int], as_is: bool
) -> "tuple[dict[int, Image], list[str]]":
    """Place the objects of given pictures as training views show them.

    Args:
        pictures: of ``read_given``.
        size: (H, W) of the views.
        as_is: leave them as they are; white is put beside a picture of another shape.

    Returns:
        The pictures, and sentences on what was done.

    Raises:
        TuneMV3DError: an object is too small.
    """
    if not as_is:
        from tunemv3d_modulation.given_pictures import frame_objects

        return frame_objects(pictures, size)
    odd = {view: p for view, p in pictures.items() if p.width * size[0] != p.height * size[1]}
    return pictures, [
        f"the picture of view {view} is {p.width} x {p.height}: white is put beside it" for view, p in odd.items()
    ]
