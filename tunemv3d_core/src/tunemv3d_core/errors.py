"""Errors that a person can act on, and the exit codes of every command."""

from collections.abc import Iterable
from difflib import get_close_matches

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class TuneMV3DError(Exception):
    """Base of all errors with a message for people: what was wrong, where, and what to do.

    Commands print the message without a traceback and exit with ``EXIT_BAD_INPUT``.
    """


class SpecError(TuneMV3DError):
    """A spec that cannot be read, resolved or validated. The message names the field's path."""


class ComponentError(TuneMV3DError):
    """A component that is not installed, is broken, or is claimed by two distributions."""


class BaseModelError(ComponentError):
    """The pretrained model under a backbone is not where the spec says, or cannot be had. Another place may have it."""


class PortsError(TuneMV3DError):
    """Two components that do not fit together. The message names both and what each offers or needs."""


class ShapeError(TuneMV3DError):
    """A component returned or received a tensor of another shape than its slot promises."""


class CameraError(TuneMV3DError):
    """Cameras that are not rigid, not finite, or stand where they cannot see the object."""


class DatasetError(TuneMV3DError):
    """A dataset folder that is missing, half-written or inconsistent. The message names the file."""


class CheckpointError(TuneMV3DError):
    """A checkpoint that is incomplete, of another format, or needs components that are not installed."""


class SampleError(TuneMV3DError):
    """A sampled object's folder that is missing, incomplete or damaged."""


class TuneMV3DWarning(UserWarning):
    """Something that a person should know although the work goes on. Commands show it as one line."""


def suggestion(word: str, known: Iterable[str]) -> str:
    """A space and ``Did you mean 'x'?`` with the known word nearest to a misspelt one, or nothing."""
    near = get_close_matches(word, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
