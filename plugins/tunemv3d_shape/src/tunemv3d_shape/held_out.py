"""Views that nothing is fitted to: they judge what was."""

from tunemv3d_core.errors import SampleError
from tunemv3d_core.slots import Pictures

EVERY = 4
"""Every so many views one is held out; of fewer views, the last."""


def split(views: Pictures) -> tuple[Pictures, Pictures]:
    """Return the views that may be fitted, none of a single one, and those that are held out."""
    count = len(views.alpha)
    held = list(range(EVERY - 1, count, EVERY)) or [count - 1]
    return _at(views, [i for i in range(count) if i not in held]), _at(views, held)


def check_views(views: Pictures, what: str) -> None:
    """Refuse a single view, which cannot both be fitted and judge.

    Raises:
        SampleError: says what needs more.
    """
    if len(views.alpha) < 2:
        raise SampleError(f"{what} needs two views at least, one of which judges; there is one")


def _at(views: Pictures, which: list[int]) -> Pictures:
    return Pictures(views.colours[which], views.alpha[which], views.cameras[which])
