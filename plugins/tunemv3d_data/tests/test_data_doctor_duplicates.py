"""One object twice in a dataset: by its pictures, its looks and its mesh."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from planted_faults import CHAIRS, FIRST, edit, found, four_chairs

from tunemv3d_core.io.posed_images import write_manifest


@pytest.fixture
def chairs(tmp_path: Path) -> Path:
    return four_chairs(tmp_path / "chairs")


def copied(root: Path, name: str = "copy") -> Path:
    """The first chair once more, under another name."""
    folder = root / "objects" / name
    shutil.copytree(root / "objects" / FIRST, folder)
    write_manifest(root, "chairs", dict.fromkeys((*CHAIRS, name), "train"))
    return folder


def test_the_same_object_twice(chairs: Path) -> None:
    copied(chairs)
    edit(chairs, lambda content: content.update(id="copy"), ("copy",))
    (finding,) = found(chairs, "duplicate-object")
    assert finding.object == "copy" and finding.others == (FIRST,)


def test_the_same_object_compressed_again_with_a_wider_border(chairs: Path) -> None:
    folder = copied(chairs)
    edit(chairs, lambda content: content.update(id="copy", w=160, h=160, cx=80, cy=80), ("copy",))
    for path in folder.glob("*.webp"):
        Image.open(path).crop((-16, -16, 144, 144)).save(path, quality=60)
    (finding,) = found(chairs, "duplicate-look")
    assert (finding.object, finding.others, finding.level) == ("copy", (FIRST,), "warning")


def test_the_same_mesh_twice(chairs: Path) -> None:
    edit(chairs, lambda content: content.update(source_sha256="ab" * 32), CHAIRS[1:3])
    (finding,) = found(chairs, "same-source")
    assert {finding.object, *finding.others} == set(CHAIRS[1:3]) and finding.level == "warning"
    edit(chairs, lambda content: content.update(variant=1), CHAIRS[2:3])
    found(chairs)
