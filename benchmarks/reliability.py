"""Writes the figures of ``docs/reliability.md`` from the raw JSON that ``make faults`` and ``make fuzz`` leave.

Run by ``make reliability``, never by CI. The page's table stands between two comments.
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reliability.md"
RESULTS = [ROOT / f"benchmarks/results/reliability-{suite}.json" for suite in ("faults", "fuzz")]
BEGIN, END = "<!-- figures: make reliability -->", "<!-- end of figures -->"


def rows(results: dict[str, Any]) -> list[str]:
    """One line of the table for everything that was disturbed in one way: ``{kind: {what: entry}}``."""
    lines = []
    for kind, entries in sorted(results.items()):
        for what, entry in sorted(entries.items()):
            operations = entry.get("operations", "")
            lines.append(f"| {kind} | {what} | {operations} | {entry['tried']:,} | {entry['found']:,} | {entry['date']} |")
    return lines


def table(files: list[Path]) -> str:
    """The table in Markdown."""
    head = ["| disturbed by | what | operations | tried | broken promises | date |", "| --- | --- | --- | --- | --- | --- |"]
    found = [json.loads(path.read_text("utf-8")) for path in files if path.is_file()]
    return "\n".join([*head, *(line for results in found for line in rows(results))])


def main() -> None:
    """Rewrite the page."""
    page = PAGE.read_text("utf-8")
    between = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not between.search(page):
        raise SystemExit(f"{PAGE}: has no '{BEGIN}' and '{END}'; put them where the table belongs")
    fresh = between.sub(lambda _: f"{BEGIN}\n{table(RESULTS)}\n{END}", page)
    PAGE.write_text(fresh, "utf-8")


if __name__ == "__main__":
    main()
