"""Real chairs to plant faults in, and what to plant them with."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tunemv3d_core.io.posed_images import write_manifest
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.doctor.examine import Round, examine
from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.layouts import open_dataset

CHAIRS = (
    "blend-swap-cc-0-antiquechair",
    "blend-swap-cc-by-plaidchair",
    "kator-legaz-mid-century-chair",
    "scopia-office-chair",
)
FIRST = CHAIRS[0]
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
Matrices = Callable[[np.ndarray], np.ndarray]


def four_chairs(root: Path) -> Path:
    """Four chairs of the packaged dataset."""
    source = find_asset("chairs")
    for id_ in CHAIRS:
        shutil.copytree(source / "objects" / id_, root / "objects" / id_)
    shutil.copy(source / "ATTRIBUTION.md", root)
    write_manifest(root, "chairs", dict.fromkeys(CHAIRS, "train"))
    return root


def found(root: Path, *checks: str) -> list[Finding]:
    """All findings, which must be of these checks and no others."""
    findings = examine(Round(open_dataset(root)))
    assert {finding.check for finding in findings} == set(checks), findings
    return findings


def edit(root: Path, change: Callable[[dict[str, Any]], object], ids: tuple[str, ...] = CHAIRS) -> None:
    for id_ in ids:
        path = root / "objects" / id_ / "transforms.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def edit_poses(root: Path, change: Matrices, ids: tuple[str, ...] = CHAIRS) -> None:
    def apply(content: dict[str, Any]) -> None:
        poses = change(np.array([frame["transform_matrix"] for frame in content["frames"]]))
        for frame, pose in zip(content["frames"], poses, strict=True):
            frame["transform_matrix"] = pose.tolist()

    edit(root, apply, ids)


def edit_pictures(root: Path, change: Matrices, views: Iterator[int] | range = range(24), id_: str = FIRST) -> None:
    """Rewrite pictures of one chair; ``change`` gets and returns ``h w 4`` (or 3) uint8."""
    for view in views:
        path = root / "objects" / id_ / f"{view:03d}.webp"
        Image.fromarray(change(np.array(Image.open(path).convert("RGBA")))).save(path, lossless=True, exact=True)


def swap(root: Path, one: Path | str, other: Path | str) -> None:
    one, other = root / "objects" / one, root / "objects" / other
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
