"""The same command twice at once: both end well, or one says that the other works or is done; the end is as of one."""

from pathlib import Path

import pytest
from disturbed import KINDS
from harness import FULL, Command, Zygote
from tally import Tally

BEATEN = "another process", "a finished packing"


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_two_at_once(kind: str, zygote: Zygote, tmp_path: Path) -> None:
    job = KINDS[kind](zygote, tmp_path)
    tally = Tally("two at once", kind)
    for attempt in range(20 if FULL else 1):
        with tally.attempt(attempt):
            job.prepare()
            ended = zygote.at_once([Command(job.argv), Command(job.argv)])
            for each in ended:
                each.spoke_plainly()
                assert each.code == 0 or (each.code == 2 and any(words in each.err for words in BEATEN)), each
            assert any(each.code == 0 for each in ended)
            job.goes_on(zygote, [])
    tally.close()
