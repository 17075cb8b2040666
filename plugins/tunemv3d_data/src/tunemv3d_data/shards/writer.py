"""One shard: a tar file with the same bytes on every run, and where each object lies in it."""

import io
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tunemv3d_core.io.atomic import atomic_file
from tunemv3d_core.io.json_files import parse, read_plain, write_json
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.io.provenance import sha256
from tunemv3d_core.io.shards import LATENTS, RECORD, PackedObject, Shard, sample_key
from tunemv3d_data.shards.plan import PlannedShard, Sample

NOTE = ".unfinished.json"

Encode = Callable[[int], bytes]
"""From an object's index to the content of its latents' member."""


def write_shard(
    path: Path,
    planned: PlannedShard,
    number: int,
    records: Callable[[int], PosedImages],
    encode: Encode | None,
    made_of: str,
    done: Callable[[], object],
) -> tuple[Shard, list[PackedObject]]:
    """Write a shard beside its place and rename it; an interrupted write leaves no file. A note beside it says what the
    index will say, so that an interrupted packing goes on after it.

    Args:
        path: of the shard.
        planned: its objects.
        number: its place among the shards.
        records: objects' records by index.
        encode: their latents; None packs none.
        made_of: fingerprint of what is packed.
        done: called after every object.

    Raises:
        OSError: a file cannot be read or the shard not be written.
    """
    ends: list[list[int]] = []
    # On the disk before it counts: what goes on after a power cut looks at sizes alone.
    with atomic_file(path, durable=True) as beside:
        # With PAX headers, names of any length and alphabet fit.
        with tarfile.open(beside, "w", format=tarfile.PAX_FORMAT) as tar:
            for sample in planned.samples:
                ends.append(_add(tar, sample, sample_key(records(sample.index).id), encode))
                done()
        packed = _located(beside, planned, number, records, ends)
        shard = Shard(path.name, beside.stat().st_size, sha256(beside))
        note = {"made_of": made_of, "shard": asdict(shard), "objects": [asdict(each) for each in packed]}
        write_json(note_of(path), note)
    return shard, packed


def _add(tar: tarfile.TarFile, sample: Sample, key: str, encode: Encode | None) -> list[int]:
    """Add an object's members; where its three runs begin, and where the last one ends."""
    ends = [tar.offset]
    _member(tar, f"{key}.{RECORD}", sample.record.read_bytes())
    if encode is not None:
        _member(tar, f"{key}.{LATENTS}", encode(sample.index))
    for run in (sample.pictures, sample.others):
        ends.append(tar.offset)
        for extension, file in run:
            _member(tar, f"{key}.{extension}", file.read_bytes())
    return [*ends, tar.offset]


def _member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A member without the marks of time and user."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _located(
    path: Path,
    planned: PlannedShard,
    number: int,
    records: Callable[[int], PosedImages],
    ends: list[list[int]],
) -> list[PackedObject]:
    """Locate each object; the checksums are of what is read back."""
    found = []
    with path.open("rb") as file:
        for sample, (start, *stops) in zip(planned.samples, ends, strict=True):
            file.seek(start)
            a, b, c = (stop - before for before, stop in zip([start, *stops], stops, strict=False))
            crc32 = zlib.crc32(file.read(a)), zlib.crc32(file.read(b)), zlib.crc32(file.read(c))
            record = records(sample.index)
            found.append(
                PackedObject(
                    id=record.id,
                    views=record.views,
                    licence=record.licence,
                    creator=record.creator,
                    source=record.source,
                    split=planned.split,
                    shard=number,
                    offset=start,
                    sizes=(a, b, c),
                    crc32=crc32,
                )
            )
    return found


def remembered(path: Path, made_of: str) -> tuple[Shard, list[PackedObject]] | None:
    """Read a shard's note, if the shard is here whole and made of the same."""
    try:
        note = parse(read_plain(note_of(path)))
        if note["made_of"] != made_of or path.stat().st_size != note["shard"]["bytes"]:
            return None
    except (OSError, ValueError, KeyError):
        return None
    return Shard(**note["shard"]), [PackedObject(**each) for each in note["objects"]]


def note_of(path: Path) -> Path:
    """Path of the note of a shard that no index holds yet."""
    return path.with_suffix(NOTE)
