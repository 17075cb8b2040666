"""Content of a report: sampled objects by prompt and seed, and where they come from."""

from collections import Counter
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from statistics import mean
from typing import Any

from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.io.checkpoint import find_checkpoint, run_checkpoints, spec_ids
from tunemv3d_core.io.generated import model_name
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.samples import MANIFEST, find_samples
from tunemv3d_core.viz.curves import Curve, read_curves

FIGURES = {
    "opacity_iou": "the field's opacity against the views' masks: IoU {:.3f}",
    "silhouette_iou": "the mesh's silhouettes against the views' masks: IoU {:.3f}",
    "views_psnr": "the shape's own views against the sampled ones: PSNR {:.1f} dB",
}
"""Figures of a manifest, as ``tunemv3d sample`` and ``tunemv3d mesh`` measure them, and their sentences on the page."""


@dataclass(frozen=True)
class Source:
    """A run, or a folder of samples: one column of the page.

    Attributes:
        name: short and unique on the page.
        folder: where it lies.
        spec: resolved, where it could be had.
        spec_id: its sha256, "" where unknown.
        curves: figures over the steps, of a run.
        preview: a run's last picture.
        data: what is known of the training data: ``objects``, ``licences``, ``creators``.
        versions: of what made it.
        options: how its objects were sampled, where all agree.
    """

    name: str
    folder: Path
    spec: dict[str, Any] | None = None
    spec_id: str = ""
    curves: dict[str, Curve] = field(default_factory=dict)
    preview: Path | None = None
    data: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampled:
    """Sampled object, its manifest read and its pictures not yet."""

    folder: Path
    source: int
    manifest: dict[str, Any]

    @property
    def prompt(self) -> str:
        """Prompt that was sampled."""
        return str(self.manifest["prompt"])

    @property
    def seed(self) -> int:
        """Seed of its noise."""
        return int(self.manifest.get("seed", 0))

    @property
    def files(self) -> dict[str, Any]:
        """File names by kind."""
        return dict(self.manifest["files"])

    @property
    def figures(self) -> dict[str, float]:
        """Members of ``FIGURES`` that were measured."""
        return {key: float(self.manifest[key]) for key in FIGURES if _is_number(self.manifest.get(key))}


@dataclass
class Gathered:
    """Everything that a report shows.

    Attributes:
        sources: in the order in which they were given.
        objects: in the order of the sources.
        faults: what could not be read, a sentence each.
    """

    sources: list[Source] = field(default_factory=list)
    objects: list[Sampled] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def prompts(self) -> list[str]:
        """List each prompt once, in the order of their first object."""
        return list(dict.fromkeys(entry.prompt for entry in self.objects))

    def means(self, source: int) -> dict[str, tuple[float, int]]:
        """The means of ``FIGURES`` over a source's objects, and over how many."""
        measured = [entry.figures for entry in self.objects if entry.source == source]
        values = {key: [figures[key] for figures in measured if key in figures] for key in FIGURES}
        return {key: (mean(found), len(found)) for key, found in values.items() if found}

    def rows(self, prompt: str) -> list[list[Sampled]]:
        """A prompt's objects, a row for each seed; in a row the sources stand in order."""
        rows: dict[tuple[int, int], list[Sampled]] = {}
        met: Counter[tuple[int, int]] = Counter()
        for entry in self.objects:
            if entry.prompt == prompt:
                place = (entry.source, entry.seed)
                rows.setdefault((entry.seed, met[place]), []).append(entry)
                met[place] += 1
        return [rows[key] for key in sorted(rows)]


def gather(folders: list[Path]) -> Gathered:
    """Read runs and sample folders: everything but the pictures.

    Raises:
        SampleError: one of them is not there, or is neither a run nor holds samples.
    """
    found = Gathered()
    for index, (folder, name) in enumerate(zip(folders, _names(folders), strict=True)):
        if not folder.is_dir():
            raise SampleError(f"{folder}: no such folder; give a run, or a folder that `tunemv3d sample` made")
        run = (folder / "spec.json").is_file() and ((folder / "metrics.jsonl").is_file() or run_checkpoints(folder))
        samples = find_samples(folder / "samples" if run else folder)
        if not run and not samples:
            raise SampleError(
                f"{folder}: neither a run (spec.json with metrics.jsonl or checkpoints/) nor sampled objects "
                f"(folders with {MANIFEST}): make some with `tunemv3d sample CHECKPOINT PROMPT --out {folder}`"
            )
        objects = [entry for path in samples if (entry := _read(path, index, found.faults)) is not None]
        found.objects += objects
        about = _run(name, folder, found.faults) if run else _samples(name, folder, objects)
        found.sources.append(about)
    return found


def _names(folders: list[Path]) -> list[str]:
    """Folder names, with their parents' where two are alike, numbered where even those are."""
    resolved = [folder.resolve() for folder in folders]
    plain = Counter(path.name for path in resolved)
    names = [path.name if plain[path.name] == 1 else f"{path.parent.name}/{path.name}" for path in resolved]
    met: Counter[str] = Counter()
    for index, name in enumerate(names):
        met[name] += 1
        names[index] = name if met[name] == 1 else f"{name} ({met[name]})"
    return names


def _read(folder: Path, source: int, faults: list[str]) -> Sampled | None:
    manifest = _attempt(lambda: _checked(folder / MANIFEST), faults)
    return None if manifest is None else Sampled(folder, source, manifest)


def _checked(path: Path) -> dict[str, Any]:
    """A manifest whose parts are of their kinds; what else is in it is shown as it is."""
    manifest = read_json(path, finite=False)  # a figure that could not be measured
    if not isinstance(manifest.get("prompt"), str) or not isinstance(manifest.get("files"), dict):
        raise SampleError(f"{path}: names no 'prompt' or no 'files'")
    data = manifest.get("data") or {}
    known = {"seed": (manifest.get("seed", 0), int), "notes": (manifest.get("notes") or [], list), "data": (data, dict)}
    known["versions"] = manifest.get("versions") or {}, dict
    if isinstance(data, dict):
        known |= {f"data.{key}": (data.get(key) or {}, dict) for key in ("licences", "creators")}
        known["data.objects"] = data.get("objects") or 0, int
    for key, (value, kind) in known.items():
        if not isinstance(value, kind):
            raise SampleError(f"{path}: '{key}' should be of type {kind.__name__}, not {type(value).__name__}")
    return manifest


def _run(name: str, folder: Path, faults: list[str]) -> Source:
    """A trainer's folder; what is damaged in it is left out and listed."""
    spec = _attempt(lambda: read_json(folder / "spec.json"), faults)
    log = folder / "metrics.jsonl"
    curves = _attempt(lambda: read_curves(log), faults) if log.is_file() else None
    whole = run_checkpoints(folder)
    record = (_attempt(lambda: read_json(whole[-1] / "provenance.json"), faults) if whole else None) or {}
    previews = sorted((folder / "previews").glob("step-*.png"), key=lambda file: (len(file.name), file.name))
    return Source(
        name=name,
        folder=folder,
        spec=spec,
        spec_id=str(record.get("spec_id", "")),
        curves=curves or {},
        preview=previews[-1] if previews else None,
        data=record.get("data") or {},
        versions=record.get("versions") or {},
    )


def _samples(name: str, folder: Path, objects: list[Sampled]) -> Source:
    """A folder of samples; the spec is its checkpoint's, where that is at hand and still the same."""
    manifest = objects[0].manifest if objects else {}
    spec_id = str(manifest.get("spec_id", ""))
    spec = None
    try:
        checkpoint = find_checkpoint(str(manifest["checkpoint"]))
        if spec_id in spec_ids(checkpoint):
            spec = read_json(checkpoint / "spec.json")
    except (TuneMV3DError, KeyError):
        pass
    return Source(
        name=name,
        folder=folder,
        spec=spec,
        spec_id=spec_id,
        data=manifest.get("data") or {},
        versions=manifest.get("versions") or {},
        options=_shared([entry.manifest for entry in objects]),
    )


OPTIONS = {
    "checkpoint": "checkpoint",
    "num_inference_steps": "steps",
    "consistency": "K",
    "guidance_scale": "guidance",
    "scheduler": "scheduler",
    "views": "views",
    "elevation": "elevation",
    "negative_prompt": "negative prompt",
    "shared_noise": "shared noise",
}
"""Options of a manifest, and their names on the page."""


def shown_option(key: str, value: Any) -> Any:
    """Return an option as the page shows it: a checkpoint without this machine's folders."""
    return model_name(str(value)) if key == "checkpoint" else value


def _shared(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """The options that all objects have in common."""
    shared: dict[str, Any] = {}
    for key, name in OPTIONS.items():
        values = [manifest.get(key) for manifest in manifests]
        if values and values[0] not in (None, "", False) and all(value == values[0] for value in values):
            shared[name] = shown_option(key, values[0])
    return shared


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _attempt(read: Any, faults: list[str]) -> Any:
    try:
        return read()
    except TuneMV3DError as error:
        faults.append(str(error))
        return None
