"""Writes the figures of ``docs/reliability.md`` from the raw JSON that ``make faults`` and ``make fuzz`` leave.

Run by ``make reliability``, never by CI. The page's table stands between two comments.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reliability.md"
BEGIN, END = "<!-- figures: make reliability -->", "<!-- end of figures -->"


def rows_of_faults(results: dict[str, Any]) -> list[str]:
    """One line of the table for everything that was disturbed in one way: ``{kind: {what: entry}}``."""
    return [
        _row(kind, what, entry.get("operations", ""), entry["tried"], entry["found"], entry["date"])
        for kind, entries in sorted(results.items())
        for what, entry in sorted(entries.items())
    ]


def rows_of_fuzz(results: dict[str, Any]) -> list[str]:
    """One line for every kind of strangers' files."""
    return [
        _row("damaged files", kind, "", entry["cases"], sum(entry["findings"].values()), entry["date"])
        for kind, entry in sorted(results["kinds"].items())
    ]


def _row(kind: str, what: str, operations: int | str, tried: int, found: int, date: str) -> str:
    return f"| {kind} | {what} | {operations} | {tried:,} | {found:,} | {date} |"


def table() -> str:
    """The table in Markdown, of those results that are there."""
    lines = [
        "| disturbed by | what | operations | tried | broken promises | date |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in (("faults", rows_of_faults), ("fuzz", rows_of_fuzz)):
        path = ROOT / f"benchmarks/results/reliability-{name}.json"
        if path.is_file():
            lines += rows(json.loads(path.read_text("utf-8")))
    return "\n".join(lines)


def main() -> None:
    """Rewrite the page."""
    page = PAGE.read_text("utf-8")
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not between.search(page):
        raise SystemExit(f"{PAGE}: has no '{BEGIN}' and '{END}'; put them where the table belongs")
    fresh = between.sub(lambda _: f"{BEGIN}\n{table()}\n{END}", page)
    PAGE.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
