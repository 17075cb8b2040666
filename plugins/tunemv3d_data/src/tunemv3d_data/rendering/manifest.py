"""The files that describe a whole dataset, always made from what lies on the disk: ``dataset.json``,
``ATTRIBUTION.md`` and ``report.json``.

So several shards may write them at any time: each file is renamed when complete, and whoever writes looks again
whether others finished objects meanwhile. No count, time or order of one run enters them.
"""

import hashlib
import heapq
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.atomic import make_folders, put_in_place
from tunemv3d_core.io.json_files import read_json, write_json, write_json_list
from tunemv3d_core.io.posed_images import PosedImages, write_manifest
from tunemv3d_data.licences import attribution
from tunemv3d_data.notes import NoteCounts, notes_of
from tunemv3d_data.rendering.settings import RenderJob, Result

UNFINISHED = ".unfinished"
REFUSED = "refused"


def claim(job: RenderJob) -> None:
    """Take the folder for this job, or refuse where it holds another one's pictures.

    Raises:
        DatasetError: other settings, or a folder with something else in it.
    """
    path = job.out / "dataset.json"
    if path.exists():
        check_settings(job)
    elif job.out.exists() and not _only_begun(job.out):
        raise DatasetError(f"{job.out}: not empty and not a dataset; use another --out")
    make_folders(job.out / "objects", durable=True)


def keep_settings(job: RenderJob, scratch: Path) -> None:
    """Write what later runs in the folder are compared with, unless it is there."""
    path = job.out / "dataset.json"
    if not path.exists():
        write_json(scratch / path.name, {"settings": job.settings()})
        put_in_place(scratch / path.name, path, durable=True)


def _only_begun(out: Path) -> bool:
    """Tell whether a folder holds no more than a job that was killed at its very beginning leaves."""
    return {entry.name for entry in out.iterdir()} <= {UNFINISHED, "objects"} and not any(out.glob("objects/*"))


def check_settings(job: RenderJob) -> None:
    """Refuse to mix pictures of two kinds in one dataset.

    Raises:
        DatasetError: the folder's settings differ; names them.
    """
    path = job.out / "dataset.json"
    before, now = read_json(path).get("settings"), {"strict": False, **job.settings()}
    if not isinstance(before, dict):
        raise DatasetError(f"{path}: not made by tunemv3d data render; use another --out")
    before = {"strict": False, **before}
    if before != now:
        differing = [key for key in (*before, *now) if before.get(key) != now.get(key)]
        said = ", ".join(f"{key} {before.get(key)}, not {now.get(key)}" for key in dict.fromkeys(differing))
        raise DatasetError(f"{path}: this folder was rendered with {said}; use another --out or the same options")


def keep(job: RenderJob, scratch: Path, result: Result) -> None:
    """Keep on disk what became of an object without pictures, and forget it once it has them."""
    path = job.out / REFUSED / f"{hashlib.sha256(result.id.encode()).hexdigest()[:24]}.json"
    if result.status in ("rendered", "kept"):
        path.unlink(missing_ok=True)
        return
    make_folders(path.parent, durable=True)
    content = {"id": result.id, "status": result.status, "cause": result.cause, "reason": result.reason}
    write_json(scratch / path.name, content)
    put_in_place(scratch / path.name, path, durable=True)


def describe(job: RenderJob, scratch: Path) -> NoteCounts:
    """Write the three files for all finished objects, those of earlier runs and other shards included.

    Returns:
        Their notes by kind; variants have those of their object and are not counted.
    """
    check_settings(job)
    facts, written = _Facts(job, scratch / "facts.jsonl", []), None
    while written != (state := (_listing(job.out / "objects"), _listing(job.out / REFUSED))):
        written = state
        facts = _Facts(job, scratch / "facts.jsonl", written[0])
        files = ["report.json"]
        _write_report(scratch / "report.json", facts, [read_json(job.out / REFUSED / name) for name in written[1]])
        if facts.count:
            files += ["dataset.json", "ATTRIBUTION.md"]
            entries = ({key: fact[key] for key in ("id", "split", "licence", "source")} for fact in facts)
            write_manifest(scratch, job.out.resolve().name, entries, settings=job.settings())
            with (scratch / "ATTRIBUTION.md").open("w", encoding="utf-8", newline="\n") as page:
                page.writelines(attribution(map(_credits, facts)))
        for file in files:
            put_in_place(scratch / file, job.out / file, durable=True)
    return facts.notes


class _Facts:
    """Facts of every finished object for the three files, read from its folder once and kept on the disk."""

    def __init__(self, job: RenderJob, path: Path, names: list[str]) -> None:
        self.path, self.count, self.notes = path, 0, NoteCounts()
        defaults = {"split": "train", "licence": "", "creator": "", "source": "", "variant": 0}
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for name in filter(job.is_finished, names):
                content = read_json(job.folder(name) / "transforms.json")
                notes = notes_of(content)
                fact = {"id": name, **{key: content.get(key, value) for key, value in defaults.items()}}
                file.write(json.dumps({**fact, "notes": [note.to_json() for note in notes]}) + "\n")
                self.count += 1
                if fact["variant"] == 0:
                    self.notes.add(name, notes)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _credits(fact: dict[str, Any]) -> PosedImages:
    """An object's credits without its pictures."""
    none = Cameras(torch.empty(0, 4, 4), torch.empty(0, 4))
    credit = PosedImages(id=fact["id"], cameras=none, size=(0, 0), captions=(), extra=fact)
    return replace(credit, licence=fact["licence"], creator=fact["creator"], source=fact["source"])


def _write_report(path: Path, facts: _Facts, refused: list[dict[str, Any]]) -> None:
    finished = {fact["id"] for fact in facts} & {entry["id"] for entry in refused}
    refused = sorted((entry for entry in refused if entry["id"] not in finished), key=lambda entry: str(entry["id"]))
    statuses = Counter(entry["status"] for entry in refused)
    head = {
        "rendered": facts.count,
        **{status: statuses[status] for status in ("refused", "failed")},
        "causes": dict(sorted(Counter(entry["cause"] for entry in refused).items())),
        "notes": facts.notes.to_json(),
    }
    rendered = ({"id": fact["id"], "status": "rendered", "notes": fact["notes"]} for fact in facts)
    entries = heapq.merge(rendered, refused, key=lambda entry: str(entry["id"]))
    write_json_list(path, head, "objects", entries)


def _listing(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []
