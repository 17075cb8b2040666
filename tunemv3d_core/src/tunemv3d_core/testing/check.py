"""A check, how it fails, and its result."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunemv3d_core.testing.component import ComponentUnderTest


class ConformanceError(AssertionError):
    """A component does not do what its slot asks. The message says what was found and what is wanted."""


class NotApplicableError(Exception):
    """A check does not apply to this component. The message says why."""


class Outcome(StrEnum):
    """Outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected failure"
    UNEXPECTED = "unexpected pass"
    NOT_APPLICABLE = "not applicable"
    NOT_RUN = "not run"


FINDINGS = (Outcome.FAILED, Outcome.UNEXPECTED)
"""Outcomes that a component's author has to act on."""


@dataclass(frozen=True)
class Check:
    """One question to a component.

    Attributes:
        ask: the function ``check_NAME(component)``; it raises if the answer is no.
        gates: names of checks that must pass before this one can run.
    """

    ask: "Callable[[ComponentUnderTest], None]"
    gates: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``NAME`` of ``check_NAME``."""
        return self.ask.__name__.removeprefix("check_")

    @property
    def summary(self) -> str:
        """First line of its docstring."""
        return (self.ask.__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class Result:
    """Result of one check of one component.

    Attributes:
        check: its name.
        outcome: passed, failed or another.
        note: the reason, unless it simply passed.
        seconds: CPU time, including processes that the check started.
        error: the exception, for a traceback.
        where: file and line of the author's code where it failed, if they can be told.
    """

    check: str
    outcome: Outcome
    note: str = ""
    seconds: float = 0.0
    error: BaseException | None = None
    where: str = ""
