"""Sets the one version of all distributions: ``python release/set_version.py 0.2.0``.

It stands in every ``pyproject.toml``, in the pins between them, in every package's ``__version__`` and in
``CITATION.cff``.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = (
    "CITATION.cff",
    "pyproject.toml",
    "*/pyproject.toml",
    "plugins/*/pyproject.toml",
    "*/src/*/__init__.py",
    "plugins/*/src/*/__init__.py",
)
PLACES = (r'(?m)^((?:__version__|version) = ")[^"]+', r'(?m)("tunemv3d-[\w-]+==)[^"]+', r"(?m)^(version: )\S+")


def set_version(root: Path, version: str) -> list[Path]:
    """Write it, and return the files that changed.

    Raises:
        SystemExit: no version as indexes take it.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise SystemExit(f"error: '{version}' is no version; write one such as 0.2.0 or 0.2.0rc1")
    changed = []
    for file in sorted(file for pattern in FILES for file in root.glob(pattern)):
        before = after = file.read_text("utf-8")
        for place in PLACES:
            after = re.sub(place, rf"\g<1>{version}", after)
        if after != before:
            file.write_text(after, "utf-8")
            changed.append(file)
    return changed


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    for file in set_version(ROOT, sys.argv[1]):
        print(file.relative_to(ROOT))
