"""Warnings of an evaluation, which stand in its report too."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tunemv3d_core.errors import TuneMV3DWarning


class ReportedWarning(TuneMV3DWarning):
    """A warning whose text stands in the report already: what failed, or was left out."""


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Collect the texts of our own warnings, whoever gives them, while they are shown as before."""
    texts: list[str] = []
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, TuneMV3DWarning) and not issubclass(category, ReportedWarning):
            texts.append(str(message))
        before(message, category, filename, lineno, file, line)

    warnings.showwarning = show
    try:
        yield texts
    finally:
        warnings.showwarning = before
