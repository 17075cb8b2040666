"""Where in the author's code a check failed."""

import inspect
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch

from tunemv3d_core.testing.check import ConformanceError


class NotFiniteGradientError(ConformanceError):
    """A gradient that became NaN.

    Attributes:
        frames: the forward pass's frames, (file, line), outermost first.
    """

    def __init__(self, message: str, frames: list[tuple[str, int]]) -> None:
        super().__init__(message)
        self.frames = frames


@contextmanager
def locating_nan() -> Iterator[None]:
    """Raise an error that knows the operation whose backward pass gave NaN.

    Raises:
        NotFiniteGradientError: a backward pass within gave NaN.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with torch.autograd.detect_anomaly(check_nan=True):
                yield
        except RuntimeError as error:
            if not (found := re.search(r"Function '(\w+)Backward\d*' returned nan", str(error))):
                raise
            text = "\n".join(str(warning.message) for warning in told)
            frames = [(file, int(line)) for file, line in re.findall(r'File "(.+?)", line (\d+)', text)]
            operation = found[1].lower()
            raise NotFiniteGradientError(
                f"the gradient of a {operation} is NaN, such as that of 0/0 or of the norm of 0", frames
            ) from None


def author_line(error: BaseException, modules: list[str], built: type | None) -> str:
    """Return ``file:line`` of the author's code where an error arose, "" if it cannot be told.

    Args:
        error: what a check raised.
        modules: names of the author's modules, such as those of descriptor and ``build``.
        built: class of the component: where it is defined is told of an error that the kit found in its outputs.
    """
    named = [*modules, *([built.__module__] if built else [])]
    roots = [root for module in named if (root := _root(module)) is not None]
    frames = getattr(error, "frames", None)
    if frames is None:
        frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    own = [frame for frame in frames if any(Path(frame[0]).is_relative_to(root) for root in roots)]
    if own:
        return _told(*own[-1])
    try:
        return "" if built is None else _told(inspect.getfile(built), inspect.getsourcelines(built)[1])
    except (OSError, TypeError):
        return ""


def _root(module: str) -> Path | None:
    """Return the folder of a module's package, or the file of a module without one."""
    try:
        spec = find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = list(spec.submodule_search_locations or [spec.origin or ""])
    return Path(places[0]) if places and places[0] else None


def _told(file: str, line: int) -> str:
    path = Path(file)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{line}"
