"""A few damaged files of every kind, the same in every run; `make fuzz` draws others, as many as are asked for."""

from collections.abc import Iterator

import pytest
from fuzz_campaign import Child, run
from fuzz_seeds import STRATEGIES

CASES = {"set": 40, "schedulers": 15, "captures": 25, "manifests": 25}
"""Cases by kind; 30 of the others. A second or two each."""


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    started = Child()
    yield started
    started.close()


@pytest.fixture(scope="module")
def bare() -> Iterator[Child]:
    started = Child(seconds=2, prepared=False)
    yield started
    started.close()


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize("kind", STRATEGIES)
def test_damaged_files_are_read_or_refused_in_words(kind: str, child: Child) -> None:
    count = CASES.get(kind, 30)
    findings = run(kind, count, 20_261_129, child)
    assert findings.found == {}
    assert findings.cases == count and findings.outcomes.keys() <= {"loaded", "refused"}


@pytest.mark.slow
@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("case", "outcome", "at"),
    [
        ("hangs", "hang", "over 2 s"),
        ("dies", "crash", "exit code 3"),
        ("leaves", "outside", "left"),
        ("starts", "outside", "os.system"),
        ("breaks", "traceback", "ZeroDivisionError"),
        ("fills", "traceback", "MemoryError"),
    ],
)
def test_what_may_not_be_is_found(case: str, outcome: str, at: str, bare: Child) -> None:
    found = bare(case, {}, [])
    assert found["outcome"] == outcome and at in found["at"]
