"""Our own datasets (``tunemv3d_core.io.posed_images``): dataset.json and objects/<id>/transforms.json."""

from pathlib import Path

from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_data.layouts.views import SourceViews
from tunemv3d_data.meshes.mesh import RADIUS

LOOKS_LIKE = "dataset.json and objects/<id>/transforms.json"


def recognise(path: Path) -> bool:
    """Return whether a manifest lies there."""
    return (path / "dataset.json").is_file()


def find(path: Path) -> dict[str, Path]:
    """Find the manifest's objects."""
    return {id_: path / "objects" / id_ for id_ in read_manifest(path)}


def read(folder: Path) -> SourceViews:
    """Read one object; nothing is turned or scaled."""
    record = read_object(folder)
    manifest = read_json(folder.parent.parent / "dataset.json")
    splits = {entry["id"]: entry.get("split", "train") for entry in manifest["objects"]}
    return SourceViews(
        poses=record.cameras.camera_to_world.double().numpy(),
        intrinsics=record.cameras.intrinsics.double().numpy(),
        files=tuple(folder / file for file in record.files),
        radius=RADIUS,
        split=splits.get(folder.name, "train"),
        captions=record.captions,
        licence=record.licence,
        creator=record.creator,
        source=record.source,
        extra={key: value for key, value in record.extra.items() if key != "split"},
    )
