"""``python -m tunemv3d_release.load NAME...``: what of these distributions cannot be used here, as JSON.

A process of its own, started where built wheels come first on the path.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tunemv3d_core.console import print_json
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugins.discovery import EntryPointRecord
from tunemv3d_core.plugins.isolated_import import import_each
from tunemv3d_core.plugins.registry import registry

PATIENCE = 60.0
"""Seconds that one import may take."""


def load(distributions: Iterable[str]) -> list[dict[str, Any]]:
    """Import all entry points of some distributions with what they name, and return a row with problems for each."""
    wanted = set(distributions)
    records = [record for record in registry().everything() if record.distribution in wanted]
    rows = []
    for record, result in zip(records, import_each(records, PATIENCE, targets=True), strict=True):
        problems = [result.problem] if result.problem else _asset_problems(record)
        row = {"distribution": record.distribution, "slot": record.slot, "name": record.name, "problems": problems}
        rows.append(row)
    return rows


def _asset_problems(record: EntryPointRecord) -> list[str]:
    """Return what everybody would be told who loads a packaged checkpoint."""
    folder = registry().load(record) if record.slot == "asset" else Path()
    if record.slot != "asset" or not (folder / "provenance.json").is_file():
        return []
    # Which import torch; most packages have no checkpoint.
    from tunemv3d_core.io.checkpoint import check_checkpoint
    from tunemv3d_core.io.provenance import check_components

    try:
        differences = check_components(check_checkpoint(folder)["components"], folder)
    except TuneMV3DError as error:
        return [f"asset {record}: {error}"]
    return [f"asset {record}: {each}; export it anew" for each in differences]


if __name__ == "__main__":
    print_json(load(sys.argv[1:]))
