"""What was tried and what came of it: every attempt is made before a test fails, and the full suite keeps the count."""

import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from harness import FULL

RESULTS = Path(__file__).parents[2] / "benchmarks/results/reliability-faults.json"


class Tally:
    """Counts the attempts of one kind.

    Args:
        kind: of the disturbance: "kills", "power cuts", ...
        what: is disturbed.
        facts: that stand beside the count, such as the number of operations.
    """

    def __init__(self, kind: str, what: str, **facts: Any) -> None:
        self.kind, self.what, self.facts = kind, what, facts
        self.tried = 0
        self.findings: list[str] = []

    @contextmanager
    def attempt(self, place: object) -> Iterator[None]:
        """Count one attempt; what it asserts in vain becomes a finding."""
        self.tried += 1
        try:
            yield
        except AssertionError as error:
            self.findings.append(f"{place}: {error}")

    def close(self) -> None:
        """Keep the count of the full suite, and fail where something was found.

        Raises:
            AssertionError: names what was found.
        """
        if FULL:
            self._keep()
        shown = "\n\n".join(finding[:1500] for finding in self.findings[:8])
        assert not self.findings, f"{len(self.findings)} of {self.tried} {self.kind} of {self.what}:\n{shown}"

    def _keep(self) -> None:
        with FileLock(RESULTS.with_suffix(".lock")):
            kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {}
            entry = {"tried": self.tried, "found": len(self.findings), **self.facts}
            entry |= {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
            kept.setdefault(self.kind, {})[self.what] = entry
            RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf-8")


def machine() -> str:
    """Return the kind of machine, without its name."""
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
