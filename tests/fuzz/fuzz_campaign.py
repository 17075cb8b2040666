"""Cases of a kind, one after the other, in a child process with limits; what is found is kept with its files.

``python tests/fuzz/fuzz_campaign.py --count 20000 --out FILE.json`` runs all kinds (``make fuzz N=20000``).
"""

import argparse
import base64
import json
import os
import platform
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fuzz_seeds import STRATEGIES
from fuzz_worker import MEMORY, main
from hypothesis import HealthCheck, Phase, given, seed, settings

SECONDS = 10.0
"""Limit of one case; one that takes longer is a hang."""
STARTING = 120.0
"""Limit in seconds of the start of the process that opens cases."""
PATIENCE = 6
"""How many times the limit a case may take on a machine where others have the processor."""


@dataclass
class Findings:
    """What was run of one kind.

    Attributes:
        kind: the kind.
        cases: how many were run.
        outcomes: how often each outcome was.
        slowest: seconds of the slowest case.
        found: by where it broke: how often, an account, and the smallest case.
    """

    kind: str
    cases: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    slowest: float = 0.0
    found: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, outcome: dict[str, Any], case: tuple[dict[str, Any], list[str]], seconds: float) -> None:
        """Count one case, and keep it where it was wrong."""
        self.cases += 1
        self.slowest = max(self.slowest, seconds)
        self.outcomes[outcome["outcome"]] = self.outcomes.get(outcome["outcome"], 0) + 1
        if "at" in outcome:
            size = len(repr(case))
            known = self.found.setdefault(f"{outcome['outcome']}: {outcome['at']}", {"times": 0, "size": size + 1})
            known["times"] += 1
            if size < known["size"]:
                known |= {"size": size, "text": outcome["text"], "case": _kept(case)}


class Child:
    """The process that opens cases; a new one takes the place of one that hung or died.

    Args:
        seconds: limit of one case.
        prepared: whether it imports first what the readers need.
    """

    def __init__(self, seconds: float = SECONDS, prepared: bool = True) -> None:
        self._seconds, self._prepared = seconds, prepared
        self._process: Any = None
        self._ends: Any = None

    def ready(self) -> None:
        """Start the process, unless it waits already."""
        if self._process is None:
            self._start()

    def __call__(self, kind: str, files: dict[str, Any], words: list[str]) -> dict[str, Any]:
        """Open one case; return what it did."""
        self.ready()
        _, before = self._state()
        self._ends.send((kind, files, words))
        try:
            for _ in range(PATIENCE):
                if self._ends.poll(self._seconds):
                    return dict(self._ends.recv())
                state, used = self._state()
                if state not in "RD" or used - before >= self._seconds:  # else others have the processor
                    break
            lost = {"outcome": "hang", "at": f"over {self._seconds:g} s", "text": ""}
        except (EOFError, OSError):
            self._process.join(5)
            lost = {"outcome": "crash", "at": f"exit code {self._process.exitcode}", "text": ""}
        self.close()
        return lost

    def _state(self) -> tuple[str, float]:
        """Return what the process does, as proc(5) says it, and the processor's seconds that it had."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._ends.close()
            self._process = None

    def _start(self) -> None:
        context = get_context("spawn")
        self._ends, there = context.Pipe()
        self._process = context.Process(target=main, args=(there, self._prepared), daemon=True)
        self._process.start()
        there.close()
        assert self._ends.poll(STARTING) and self._ends.recv() == "ready", f"not ready within {STARTING:g} s"


class _Over(KeyboardInterrupt):
    """The end of a run, which hypothesis passes on at once."""


def run(kind: str, count: int, number: int, child: Child, until: float = float("inf")) -> Findings:
    """Run ``count`` cases of a kind, drawn from the seed ``number``; fewer where the time is over."""
    findings = Findings(kind)

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STRATEGIES[kind])
    def one(case: tuple[dict[str, Any], list[str]]) -> None:
        if findings.cases == count or time.monotonic() > until:
            raise _Over
        child.ready()
        began = time.perf_counter()
        outcome = child(kind, *case)
        findings.add(outcome, case, time.perf_counter() - began)

    with suppress(_Over):
        one()
    return findings


def _kept(case: tuple[dict[str, Any], list[str]]) -> dict[str, Any]:
    files, words = case
    text = {k: base64.b64encode(v).decode() if isinstance(v, bytes) else list(v) for k, v in files.items()}
    return {"files": text, "words": words}


def report(done: list[Findings], number: int, before: dict[str, Any]) -> dict[str, Any]:
    """Return what was run, as the page of reliability shows it; of kinds that were not, what was known before."""
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "limits": {"seconds": SECONDS, "bytes": MEMORY},
        "kinds": before
        | {
            each.kind: {
                "date": datetime.now(UTC).date().isoformat(),
                "seeds": [number],
                "cases": each.cases,
                "outcomes": dict(sorted(each.outcomes.items())),
                "slowest_s": round(each.slowest, 2),
                "findings": {where: found["times"] for where, found in each.found.items()},
            }
            for each in done
        },
    }


def command() -> int:
    """Run all kinds, or those that are named; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(STRATEGIES)}, or KIND=COUNT; default: all")
    parser.add_argument("--count", type=int, default=1000, help="cases of each kind")
    parser.add_argument("--seed", type=int, default=None, help="default: another one each time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="of each kind at most")
    parser.add_argument("--out", type=Path, help="JSON of what was run")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"), help="folder of cases that broke")
    options = parser.parse_args()
    number = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    child, done = Child(), []
    try:
        for kind, count in (each.partition("=")[::2] for each in options.kinds or STRATEGIES):
            done.append(run(kind, int(count or options.count), number, child, time.monotonic() + 60 * options.minutes))
            print(f"{kind}: {done[-1].cases} cases, {done[-1].outcomes}, slowest {done[-1].slowest:.1f} s", flush=True)
            for place, (where, found) in enumerate(done[-1].found.items()):
                options.findings.mkdir(parents=True, exist_ok=True)
                (options.findings / f"{kind}-{place}.json").write_text(json.dumps({"where": where, **found}))
                print(f"  {found['times']} x {where}", flush=True)
            if options.out:
                before = json.loads(options.out.read_text(encoding="utf-8"))["kinds"] if options.out.exists() else {}
                options.out.write_text(json.dumps(report(done, number, before), indent=1) + "\n", encoding="utf-8")
    finally:
        child.close()
    return int(any(each.found for each in done))


if __name__ == "__main__":
    sys.exit(command())
