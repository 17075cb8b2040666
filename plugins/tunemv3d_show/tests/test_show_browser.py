"""The browser that tests drive: one that ends, falls silent or only chatters is a failure, not a wait."""

import os
from pathlib import Path

import pytest
import show_browser
from show_browser import Browser

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the browser is driven by a pair of pipes")

HELLO = r"""#!/bin/sh
for number in 1 2 3 4 5 6 7; do
    printf '{"id": %s, "result": {"targetInfos": [{"type": "page", "targetId": 1}], "sessionId": "1"}}\0' $number >&4
done
"""
"""Answers to what is asked of a browser when it opens."""


def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    file = tmp_path / "chromium"
    file.write_text(script)
    file.chmod(0o755)
    monkeypatch.setattr(show_browser, "CHROMIUM", str(file))


def test_one_that_does_not_start_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, "#!/bin/sh\nhead -c 1 <&3 >/dev/null; exit 7\n")
    with pytest.raises(AssertionError, match="chromium has ended: exit code"):
        Browser()


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("exit 3", "chromium has ended: exit code 3"),
        ("exec sleep 60", "did not answer in time"),
        ('while :; do printf \'{"method": "x"}\\0\' >&4; done', "said other things, but did not answer in time"),
    ],
)
def test_one_that_ends_or_answers_no_more_is_told(
    after: str, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in(monkeypatch, tmp_path, HELLO + after)
    with pytest.raises(AssertionError, match=message), Browser() as browser:
        for _ in range(2):
            browser.call("Page.enable", timeout=0.5)


def test_one_that_takes_no_commands_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, HELLO + "exec sleep 60")
    with pytest.raises(AssertionError, match="did not take a command in time"), Browser() as browser:
        browser.call("Runtime.evaluate", timeout=0.3, expression="x" * 300_000)
