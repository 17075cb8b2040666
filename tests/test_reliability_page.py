"""The page's figures are those of the raw files, and every test that it names is there."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/reliability.md").read_text("utf-8")


def test_the_table_is_that_of_the_raw_files() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks/reliability.py"))
    shown = PAGE.partition(script["BEGIN"])[2].partition(script["END"])[0].strip()
    assert shown == script["table"](), "run: make reliability"


def test_the_rows_say_what_was_tried_and_found() -> None:
    script = runpy.run_path(str(ROOT / "benchmarks/reliability.py"))
    kills = {"kills": {"run": {"tried": 1258, "found": 0, "operations": 205, "date": "2026-11-29"}}}
    assert script["rows_of_faults"](kills) == ["| kills | run | 205 | 1,258 | 0 | 2026-11-29 |"]
    specs = {"date": "2026-11-30", "cases": 20000, "findings": {"a.py:3": 2, "b.py:4": 1}}
    fuzz = {"machine": "two cores", "kinds": {"specs": specs}}
    assert script["rows_of_fuzz"](fuzz) == ["| damaged files | specs |  | 20,000 | 3 | 2026-11-30 |"]


def test_every_promise_names_a_test_that_is_there() -> None:
    named = re.findall(r"`((?:tests|tunemv3d_\w+)/[\w/]+\.py)`", PAGE)
    assert len(named) >= 14 and all((ROOT / path).is_file() for path in named)
