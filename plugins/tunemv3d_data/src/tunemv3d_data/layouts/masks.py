"""Masks beside the pictures of a capture, where the tools that make them put them."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.layouts.views import inside

_FOLDERS = ("masks", "mask")


def masks_of(path: Path, files: Sequence[Path], stated: Sequence[object] = ()) -> dict[str, Any]:
    """Find the pictures' masks: one for each, or none.

    A frame states its own (nerfstudio's ``mask_path``), or it lies in ``masks/`` or ``mask/`` beside the pictures'
    folder, called as its picture is (with .png in place of the suffix, or after it, as COLMAP's), or beside the
    picture as instant-ngp's ``dynamic_mask_NAME.png``, which is white where nothing shall be seen.

    Args:
        path: the file that lists the pictures, for messages; masks are looked for from its folder on.
        files: the pictures.
        stated: what each frame says, None for nothing.

    Returns:
        ``masks`` and ``black_masks`` of ``SourceViews``.

    Raises:
        DatasetError: some pictures have one and some have none.
    """
    if any(stated):
        found = [inside(path.parent, str(mask)) if mask else None for mask in stated]
        return {"masks": _all_or_none(path, found, "a mask_path")}
    found = [next((mask for mask in _candidates(path.parent, file) if mask.is_file()), None) for file in files]
    if any(found):
        return {"masks": _all_or_none(path, found, "a mask")}
    found = [file.with_name(f"dynamic_mask_{file.stem}.png") for file in files]
    found = [mask if mask is not None and mask.is_file() else None for mask in found]
    return {"masks": _all_or_none(path, found, "a mask"), "black_masks": any(found)}


def _candidates(folder: Path, file: Path) -> Iterator[Path]:
    name = (
        PurePosixPath(file.relative_to(folder).as_posix()) if file.is_relative_to(folder) else PurePosixPath(file.name)
    )
    below = PurePosixPath(*name.parts[1:]) if len(name.parts) > 1 else name
    for masks in _FOLDERS:
        for called in dict.fromkeys((below, PurePosixPath(file.name))):
            yield folder / masks / called.with_suffix(".png")
            yield folder / masks / f"{called}.png"


def _all_or_none(path: Path, found: Sequence[Path | None], what: str) -> tuple[Path, ...]:
    masks = tuple(mask for mask in found if mask is not None)
    if masks and len(masks) < len(found):
        raise DatasetError(f"{path}: {len(masks)} of {len(found)} frames have {what}; give all or none")
    return masks
