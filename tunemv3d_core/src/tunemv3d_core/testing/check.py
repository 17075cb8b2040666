"""What a check is, how it says no, and what came of it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunemv3d_core.testing.component import ComponentUnderTest


class ConformanceError(AssertionError):
    """A component does not do what its slot asks. The message says what was seen and what is wanted."""


class NotApplicableError(Exception):
    """A check asks nothing of this component. The message says why."""


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected failure"
    UNEXPECTED = "unexpected pass"
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"


FINDINGS = (Outcome.FAILED, Outcome.UNEXPECTED)
"""Outcomes that a component's author must do something about."""


@dataclass(frozen=True)
class Check:
    """One question that a component is asked.

    Attributes:
        ask: the function ``check_NAME(subject)``; it raises where the answer is no.
        gates: names of checks without which this one cannot be asked.
    """

    ask: "Callable[[ComponentUnderTest], None]"
    gates: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``NAME`` of ``check_NAME``."""
        return self.ask.__name__.removeprefix("check_")

    @property
    def summary(self) -> str:
        """The first line of what it asks."""
        return (self.ask.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class Result:
    """What came of one check of one component.

    Attributes:
        check: its name.
        outcome: what came of it.
        note: why, where it did not simply pass.
        seconds: of CPU, those of processes that the check started included.
        error: what was raised, for a traceback.
    """

    check: str
    outcome: Outcome
    note: str = ""
    seconds: float = 0.0
    error: BaseException | None = None
