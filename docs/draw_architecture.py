"""Draws ``_static/architecture.svg`` from the imports of the packages: ``python docs/draw_architecture.py``.

Every module of core stands in the column of its room, in a row below all modules that import it and above all that it
imports. A test compares the committed file with what this draws of the tree.
"""

import ast
from collections.abc import Iterator
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "_static" / "architecture.svg"
CORE = "tunemv3d_core"
TOP = "top level"

WIDTH, MARGIN, GAP = 920, 8, 3
LINE, LETTER = 15, 6.7
"""Height of a line of text and width of a letter, pixels."""


def packages() -> dict[str, Path]:
    """Return the folders of all import packages, core first, those in ``plugins`` last."""
    found = [*sorted(ROOT.glob("tunemv3d_*/src/*")), *sorted(ROOT.glob("plugins/*/src/*"))]
    return {folder.name: folder for folder in found if (folder / "__init__.py").is_file()}


def modules(folder: Path) -> dict[str, Path]:
    """Return a package's modules by dotted name, without ``__init__``."""
    files = (file for file in folder.rglob("*.py") if file.name != "__init__.py")
    return {".".join(file.relative_to(folder.parent).with_suffix("").parts): file for file in files}


def imports(file: Path) -> Iterator[str]:
    """Yield the dotted names that a module imports, those within functions too."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rows(core: dict[str, Path]) -> dict[str, int]:
    """Return the row of each module of core, 0 for those that import no other: one above the highest that it imports.

    Raises:
        RecursionError: the imports go in a circle.
    """
    imported = {module: {name for name in imports(file) if name in core} for module, file in core.items()}

    @cache
    def row(module: str) -> int:
        return 1 + max(map(row, imported[module]), default=-1)

    return {module: row(module) for module in core}


def rooms(core: dict[str, Path], placed: dict[str, int]) -> dict[str, list[str]]:
    """Return core's modules by room, rooms whose modules stand low first."""
    found: dict[str, list[str]] = {}
    for module in sorted(core):
        parts = module.split(".")[1:]
        found.setdefault(parts[0] if len(parts) > 1 else TOP, []).append(module)
    return dict(sorted(found.items(), key=lambda room: (room[0] != TOP, max(placed[m] for m in room[1]), room[0])))


def importers() -> list[str]:
    """Return the names of all packages but core, of which none may import another.

    Raises:
        ValueError: one does.
    """
    found = packages()
    for name, folder in found.items():
        others = {each.partition(".")[0] for file in modules(folder).values() for each in imports(file)}
        if wrong := others & found.keys() - {name, CORE}:
            raise ValueError(f"{name} imports {', '.join(sorted(wrong))}: packages import core and no other")
    return [name for name in found if name != CORE]


def draw() -> str:
    """Draw the packages above, core's modules by room and row below."""
    top, above = _packages(importers())
    core = modules(packages()[CORE])
    placed = rows(core)
    body, bottom = _core(rooms(core, placed), placed, top)
    label = "Packages that import core, and the modules of core in rows: each imports only modules of lower rows"
    head = f'<svg class="architecture" viewBox="0 0 {WIDTH} {bottom}" role="img" aria-label="{label}">'
    return "\n".join([head, _ARROW, *above, *body, "</svg>"]) + "\n"


def _packages(names: list[str]) -> tuple[int, list[str]]:
    """Draw the packages in lines, and an arrow to core; return where core begins."""
    drawn, x, y = [_text(MARGIN, 18, "packages: each imports core, and no other package", "head")], MARGIN, 28
    for name in names:
        short = name.removeprefix("tunemv3d_")
        width = round(len(short) * LETTER) + 16
        if x + width > WIDTH - MARGIN:
            x, y = MARGIN, y + LINE + 12
        drawn += [_box(x, y, width, LINE + 6, "package"), _text(x + 8, y + 14, short)]
        x += width + GAP + 2
    bottom = y + LINE + 6
    drawn.append(f'<path class="arrow" d="M{WIDTH // 2} {bottom + 4}V{bottom + 30}"/>')
    return bottom + 34, drawn


def _core(rooms_: dict[str, list[str]], placed: dict[str, int], top: int) -> tuple[list[str], int]:
    """Draw core's rooms as columns; return the drawing and its lower end."""
    natural = [max(len(word.rpartition(".")[2]) for word in [name, *held]) * LETTER for name, held in rooms_.items()]
    spare = (WIDTH - 2 * MARGIN - GAP * (len(natural) - 1) - sum(natural)) / len(natural)
    tallest = {
        row: max(sum(placed[m] == row for m in held) for held in rooms_.values())
        for row in sorted(set(placed.values()))
    }
    ends, y = {}, top + 66
    for row in sorted(tallest, reverse=True):
        ends[row] = (y, y + tallest[row] * LINE + 8)
        y = ends[row][1]
    drawn = [_text(MARGIN, top + 20, "tunemv3d_core: each module imports only modules of lower rows", "head")]
    drawn += [_box(MARGIN, a, WIDTH - 2 * MARGIN, b - a, "row") for row, (a, b) in ends.items() if row % 2]
    x = float(MARGIN)
    for (name, held), width in zip(rooms_.items(), natural, strict=True):
        drawn += [_box(x, top + 32, width + spare, y - top - 28, "room"), _text(x + 4, top + 51, name, "name")]
        for row, (a, _) in ends.items():
            inside = [m.rpartition(".")[2] for m in held if placed[m] == row]
            drawn += [_text(x + 4, a + 14 + LINE * k, word) for k, word in enumerate(inside)]
        x += width + spare + GAP
    return drawn, y + 14


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="4"/>'


def _text(x: float, y: float, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.0f}" y="{y:.0f}">{escape(words)}</text>'


_ARROW = (
    '<defs><marker id="down" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z"/></marker></defs>'
)


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8")
