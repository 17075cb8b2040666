"""Markdown as MyST reads it: tables, text of other origin, files that are written only where they change."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)


def prose(text: str) -> str:
    """A docstring's or help's words as one line of Markdown: code stays code, every other sign stands for itself."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        part if index % 2 else re.sub(r"([\\*_<>\[\]$|~])", r"\\\1", part) for index, part in enumerate(parts)
    )


def code(text: str) -> str:
    """Text as code."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; nothing where there are no rows."""
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    rule = "|" + " --- |" * len(columns)
    return "\n".join(["| " + " | ".join(columns) + " |", rule, *lines, ""]) if lines else ""


def page(*blocks: str) -> str:
    """Blocks of Markdown with an empty line between them; empty ones are left out."""
    return "\n\n".join(block.strip("\n") for block in blocks if block) + "\n"


def autodoc(directive: str, subject: str, *options: str) -> str:
    """An autodoc directive."""
    return "\n".join(["```{eval-rst}", f".. {directive}:: {subject}", *(f"   {option}" for option in options), "```"])


def toctree(entries: Iterable[str]) -> str:
    """The place of other pages in the navigation."""
    return "\n".join(["```{toctree}", ":hidden:", "", *entries, "```"])


def write_pages(folder: Path, texts: Mapping[str, str]) -> None:
    """Make ``folder`` hold these pages and no others; unchanged ones keep their time, so that a rebuild is quick."""
    for old in folder.rglob("*.md"):
        if old.relative_to(folder).as_posix() not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _cell(text: str) -> str:
    """Escape the bars that would end a cell, those in code too."""
    return re.sub(r"(?<!\\)\|", r"\\|", text.replace("\n", " "))
