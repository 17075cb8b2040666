"""Consistency K: one number, or several that are spread over the denoising steps. Light: imports no torch."""

from collections.abc import Sequence

from tunemv3d_core.errors import TuneMV3DError

Consistency = float | tuple[float, ...]


def parse_consistency(text: str) -> Consistency:
    """Read K from text: "1.5", or "2:1" for a schedule that falls from 2 at the first step to 1 at the last.

    Raises:
        TuneMV3DError: no number, or one that is negative or not finite.
    """
    try:
        values = tuple(float(word) for word in text.split(":"))
    except ValueError:
        raise TuneMV3DError(f"consistency '{text}': give a number such as 1.5, or a schedule such as 2:1") from None
    check_consistency(values)
    return values[0] if len(values) == 1 else values


def format_consistency(consistency: float | Sequence[float]) -> str:
    """Write K as ``parse_consistency`` reads it."""
    return ":".join(f"{k:g}" for k in _as_list(consistency))


def check_consistency(consistency: float | Sequence[float]) -> list[float]:
    """Return K's values, one or several.

    Raises:
        TuneMV3DError: none, or one that is negative or not finite.
    """
    values = _as_list(consistency)
    if not values or not all(0 <= k < float("inf") for k in values):
        given = format_consistency(values) or "empty"
        raise TuneMV3DError(f"consistency K must be at least 0, not {given}: 0 is the plain 2D model, 1 the tuned one")
    return values


def consistency_schedule(consistency: float | Sequence[float], steps: int) -> list[float]:
    """Return K of every step: the values spread evenly over the steps, linear between them.

    Raises:
        TuneMV3DError: see ``check_consistency``.
    """
    values = check_consistency(consistency)
    last = len(values) - 1
    places = [last * step / max(1, steps - 1) for step in range(steps)]
    below = [min(int(place), max(0, last - 1)) for place in places]
    ahead = [values[min(i + 1, last)] - values[i] for i in below]
    return [values[i] + (place - i) * rise for i, place, rise in zip(below, places, ahead, strict=True)]


def _as_list(consistency: float | Sequence[float]) -> list[float]:
    return [float(k) for k in (consistency if isinstance(consistency, Sequence) else [consistency])]
