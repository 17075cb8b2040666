"""The same object twice: by its source, by its pictures' bytes, and by what they look like."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_data.doctor.findings import Finding
from tunemv3d_data.doctor.silhouettes import Floats, Masks
from tunemv3d_data.doctor.summary import Summary
from tunemv3d_data.doctor.views import ObjectViews, Picture

_THUMBNAIL = 16
"""Pixels along an edge."""

_ALIKE = 0.015
"""Difference of two looks, as a share of what they cover, below which they are one object's.

The nearest of 775 different pieces of furniture, two cabinets, differ by 0.024. At another resolution or from other
cameras one object differs from itself by 0.01 to 0.13: that is left to ``same_source``.
"""


def same_source(summaries: Sequence[Summary]) -> Iterator[Finding]:
    """No two objects were made from one mesh; recoloured and stretched variants are meant to be."""
    made: dict[str, list[str]] = defaultdict(list)
    for summary in summaries:
        digest = str(summary.record.extra.get("source_sha256", ""))
        if digest and not _is_variant(summary.record):
            made[digest].append(summary.record.id)
    for ids in made.values():
        if len(ids) > 1:
            text = f"{ids[0]} and {ids[1]} were made from the same mesh file"
            yield Finding("same-source", ids[0], text, "keep one of them", others=tuple(ids[1:]), level="warning")


def same_pictures(summaries: Sequence[Summary]) -> Iterator[Finding]:
    """No picture belongs to two objects."""
    owners: dict[bytes, str] = {}
    reported: set[tuple[str, str]] = set()
    for summary in summaries:
        id_ = summary.record.id
        for view, digest in enumerate(summary.digests):
            owner = owners.setdefault(digest, id_) if digest else id_
            if owner != id_ and (owner, id_) not in reported:
                reported.add((owner, id_))
                text, advice = f"{owner} and {id_} share pictures", "keep one of them, or restore the right pictures"
                yield Finding("duplicate-object", id_, text, advice, (view,), others=(owner,))


def same_looks(summaries: Sequence[Summary]) -> Iterator[Finding]:
    """No two objects, variants aside, look the same; other names, borders and compression do not hide it."""
    known = [summary for summary in summaries if summary.look is not None and not _is_variant(summary.record)]
    if not known:
        return
    looks = np.stack([summary.look for summary in known if summary.look is not None])
    alpha = looks.reshape(len(looks), -1, 4)[..., 3].mean(1)
    for index in range(1, len(known)):
        away = np.abs(looks[:index] - looks[index]).mean(1) / np.maximum(alpha[:index], alpha[index])
        other = int(away.argmin())
        mine, theirs = known[index], known[other]
        if away[other] < _ALIKE and not set(mine.digests) & set(theirs.digests) - {b""}:
            text = f"{mine.record.id} looks like {theirs.record.id} from all sides"
            numbers = {"difference": round(float(away[other]), 4)}
            others, advice = (theirs.record.id,), "keep one of them, unless they differ in a way that matters"
            yield Finding("duplicate-look", mine.record.id, text, advice, (), numbers, others, level="warning")


def digests(views: ObjectViews) -> tuple[bytes, ...]:
    """Hash every picture's pixels, empty for empty views."""
    return tuple(
        b"" if empty else hashlib.sha256(picture.rgba.tobytes()).digest()
        for picture, empty in zip(views.pictures, views.is_empty, strict=True)
    )


def look(views: ObjectViews) -> Floats | None:
    """Average all views, each cut to its object and made small: ``t t 4``, 0 to 1; None if all are empty."""
    shown = [i for i in range(len(views)) if not views.is_empty[i]]
    if not shown:
        return None
    return np.asarray(np.mean([_thumbnail(views.pictures[i], views.masks[i]) for i in shown], axis=0).ravel())


def _thumbnail(picture: Picture, mask: Masks) -> Floats:
    y, x = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    half = max(y[-1] - y[0], x[-1] - x[0]) / 2 + 1
    middle_y, middle_x = (y[0] + y[-1] + 1) / 2, (x[0] + x[-1] + 1) / 2
    box = tuple(round(v) for v in (middle_x - half, middle_y - half, middle_x + half, middle_y + half))
    rgba = picture.rgba.astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255
    cut = Image.fromarray(rgba.round().astype(np.uint8), "RGBA").crop(box)
    return np.asarray(cut.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX), dtype=np.float64) / 255


def _is_variant(record: PosedImages) -> bool:
    return bool(record.extra.get("variant", 0))
