"""An evaluation from its request to the report: sample, score, build, write."""

import platform
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from tunemv3d_core.additions import Additions
from tunemv3d_core.consistency import Consistency, check_consistency
from tunemv3d_core.errors import TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_core.io.atomic import write_text
from tunemv3d_core.io.checkpoint import find_checkpoint
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.json_files import read_json, write_json
from tunemv3d_core.io.provenance import versions
from tunemv3d_core.io.samples import cut_prompts
from tunemv3d_core.placement import Placement
from tunemv3d_core.ranks import ALONE, Ranks
from tunemv3d_core.sampling import latent_size
from tunemv3d_core.slots import Need
from tunemv3d_eval import __version__
from tunemv3d_eval.lines import Lines
from tunemv3d_eval.protocols.protocol import Protocol
from tunemv3d_eval.report.build import FORMAT, build_report
from tunemv3d_eval.report.over_t import plots_over_t
from tunemv3d_eval.report.plots import figure_plots
from tunemv3d_eval.report.table import markdown
from tunemv3d_eval.samples.generate import generate
from tunemv3d_eval.samples.identity import Identity, labels
from tunemv3d_eval.samples.jobs import Settings, jobs
from tunemv3d_eval.samples.store import SampleStore
from tunemv3d_eval.scoring.chosen import Chosen, Needs, choose_metrics
from tunemv3d_eval.scoring.compared import score_controls, score_real
from tunemv3d_eval.scoring.measurement import Measurement
from tunemv3d_eval.scoring.real import Data, RealObjects, find_data, real_objects
from tunemv3d_eval.scoring.score import merge_scores, score_samples, score_share
from tunemv3d_eval.scoring.scored import Progress, Scored
from tunemv3d_eval.subject import Subject
from tunemv3d_eval.warned import recorded

Bar = Callable[[str, int | None], Progress]
"""Begins a part of the work of so many objects; what it gives is told how many of them are done."""


SHARES = ".shares"
"""Folder in which several processes keep what they find until the first takes it over."""


@dataclass(frozen=True)
class Request:
    """What to evaluate and how.

    Attributes:
        checkpoints: names.
        protocol: as it is followed.
        overridden: its fields that the command changed.
        metrics: asked for by name, in place of the protocol's.
        real: whether real objects were asked for, and not by the protocol alone.
        data: another dataset than the checkpoints' own.
        out: the folder.
        score_only: measure the samples that are there.
        place: where it computes.
        added: on top of the checkpoints.
        ranks: the processes that share the work.
    """

    checkpoints: Sequence[str]
    protocol: Protocol
    overridden: Sequence[str]
    metrics: Sequence[str]
    real: bool
    data: str
    out: Path
    score_only: bool
    place: Placement
    added: Additions
    ranks: Ranks = ALONE


class Evaluation:
    """An evaluation whose request is checked.

    Args:
        request: what to evaluate.

    Raises:
        TuneMV3DError: no such checkpoint, metric, option or prompts, or a folder that cannot be used.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        for name in request.checkpoints:
            find_checkpoint(name)
        self._labels = labels(request.checkpoints)
        self._prompts = request.protocol.texts()
        self._jobs = jobs(self._prompts, request.protocol.seeds)
        self._chosen = choose_metrics(request.protocol, request.metrics)
        compares = any(Need.DATASET in each.metric.needs for each in self._chosen.metrics)
        self._asks_data = compares or request.protocol.real or request.protocol.controls
        if request.data and not self._asks_data:
            raise TuneMV3DError(
                f"--data {request.data}: is read for --real alone, and for controls and metrics that compare with real "
                "objects; add --real"
            )
        _check_folder(request.out, request.score_only)
        self._scored: list[Scored] = []
        self._measurements: list[Measurement] = []
        self._about: list[dict[str, Any]] = []
        self._made, self._sampling = 0, 0.0

    def run(self, bar: Bar) -> dict[str, Any]:
        """Evaluate, and write report, table and plots.

        Returns:
            The report; nothing beside the first of several processes.

        Raises:
            TuneMV3DError: another process evaluates in the folder, or a file in it is damaged.
        """
        ranks = self.request.ranks
        with _alone(self.request.out) if ranks.rank == 0 else nullcontext():
            ranks.total(0)  # the others begin when the folder is held
            return self._run(bar)

    def _run(self, bar: Bar) -> dict[str, Any]:
        began = time.perf_counter()
        self._index = Lines(self.request.out / "samples.jsonl", "file")
        self._scores = Lines(self.request.out / "scores.jsonl", "key")
        with recorded() as warned:
            for name, label in zip(self.request.checkpoints, self._labels, strict=True):
                self._evaluate(name, label, bar)
            if self.request.ranks.rank:
                return {}
            if len({about["base"] for about in self._about}) > 1:
                _warn("the checkpoints have different bases: differences between them are also those of the bases")
        report = self._report(round(time.perf_counter() - began, 1), list(dict.fromkeys(warned)))
        out = self.request.out
        shutil.rmtree(out / SHARES, ignore_errors=True)
        write_json(out / "evaluate.json", report, durable=True)
        write_text(out / "table.md", markdown(report))
        for figure, drawn in (figure_plots(report) | plots_over_t(report)).items():
            (out / "plots").mkdir(exist_ok=True)
            write_text(out / "plots" / f"{figure}.svg", drawn)
        return report

    def _evaluate(self, name: str, label: str, bar: Bar) -> None:
        """Sample and score one checkpoint."""
        request, work = self.request, self._jobs
        loaded = LoadedCheckpoint.load(name, request.place, request.added)
        model = loaded.model
        settings = _settings(loaded, request.protocol)
        data, real = self._real(loaded)
        # A metric reads real objects once, so that each checkpoint has its own.
        chosen = choose_metrics(request.protocol, request.metrics) if self._scored else self._chosen
        needs = Needs(model, settings, data if isinstance(data, str) else "")
        if request.metrics:
            _refuse_unmet(chosen, needs, records=real is not None)
        identity = Identity.of(label, loaded, request.added.as_json())
        by = GeneratedBy.of({"checkpoint": name, "spec_id": identity.spec_id, "data": loaded.data})
        subject = Subject(model, settings, identity, by, needs, None if isinstance(data, str) else data)
        if request.ranks.world > 1:
            self._made += self._share(subject, bar)
            if request.ranks.rank:
                return
        store = SampleStore(request.out, identity, settings, self._index)
        for note in cut_prompts(model.backbone, self._prompts):
            _warn(f"{label}: {note}")
        total = len(work) * len(settings.consistency)
        if not request.score_only:
            began = time.perf_counter()
            self._made += generate(model, store, settings, work, bar(f"{label}: sampling", total))
            self._sampling += time.perf_counter() - began
        measurement = Measurement(chosen, model, needs, self._scores, subject.data)
        scored, pictures = Scored(label), request.out / "pictures" / label
        if real is not None:
            progress = bar(f"{label}: real objects", len(real.indices))
            score_real(real, model, identity.bound(), measurement, scored, pictures, progress)
        samples = subject.samples(store, work)
        shares = [Lines(path, "key") for path in sorted((request.out / SHARES).glob("*/scores.jsonl"))]
        merge_scores(samples, shares, self._scores)
        score_samples(samples, measurement, scored, pictures, bar(f"{label}: scoring", total))
        if request.protocol.controls:
            score_controls(samples, measurement, scored, bar(f"{label}: controls", None))
        self._scored.append(scored)
        self._measurements.append(measurement)
        self._about.append({**identity.as_json(), "consistency": settings.consistency, "sampling": settings.as_json()})

    def _share(self, subject: Subject, bar: Bar) -> int:
        """Sample and score this process's share of the work; return how many samples all processes made."""
        request, ranks, label = self.request, self.request.ranks, subject.identity.label
        out, folder = request.out, request.out / SHARES / str(ranks.rank)
        index = Lines(out / "samples.jsonl", "file", folder / "samples.jsonl")
        store = SampleStore(out, subject.identity, subject.settings, index)
        share, made = ranks.share(self._jobs), 0
        total = len(share) * len(subject.settings.consistency)
        if not request.score_only:
            began = time.perf_counter()
            made = generate(subject.model, store, subject.settings, share, bar(f"{label}: sampling", total))
            self._sampling += time.perf_counter() - began
        scores = Lines(out / "scores.jsonl", "key", folder / "scores.jsonl")
        chosen = choose_metrics(request.protocol, request.metrics)
        measurement = Measurement(chosen, subject.model, subject.needs, scores, subject.data)
        samples, scoring = subject.samples(store, self._jobs), bar(f"{label}: scoring", None)
        score_share(samples, measurement, out / "pictures" / label, share, scoring)
        return ranks.total(made)

    def _real(self, loaded: LoadedCheckpoint) -> tuple[Data | str, RealObjects | None]:
        """Return the dataset, or why there is none, and its held-out objects if they are to be measured.

        Raises:
            TuneMV3DError: there are none, and they were asked for.
        """
        request, protocol = self.request, self.request.protocol
        if not self._asks_data:
            return "nobody asked for real objects", None
        wanted = protocol.real or protocol.controls
        data: Data | str = ""
        try:
            data = find_data(loaded.spec, request.data)
            return data, real_objects(data, protocol.views) if wanted else None
        except TuneMV3DError as error:
            if request.real or request.data:
                raise
            if wanted:
                _warn(f"{loaded.name}: no real objects beside the samples: {error}")
            return data or str(error), None

    def _report(self, seconds: float, warned: list[str]) -> dict[str, Any]:
        """Build the report of what was scored."""
        request, several = self.request, len(self._labels) > 1
        device, name = _device(request.place.device)
        skipped: dict[str, list[str]] = {}
        failed: dict[str, list[dict[str, str]]] = {}
        for label, each in zip(self._labels, self._measurements, strict=True):
            for metric, reason in each.skipped.items():
                skipped.setdefault(metric, []).append(f"{label}: {reason}" if several else reason)
            for metric, entries in each.failed.items():
                told = [
                    {**entry, "where": f"{label}: {entry['where']}" if several else entry["where"]} for entry in entries
                ]
                failed.setdefault(metric, []).extend(told)
        times = {"sampling": self._sampling}
        for each in self._measurements:
            times |= {metric: times.get(metric, 0.0) + seconds for metric, seconds in each.seconds.items()}
        answered = {metric for each in self._measurements for metric in each.answered}
        header = {
            "format": FORMAT,
            "protocol": request.protocol.model_dump(mode="json"),
            "overridden": list(request.overridden),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": f"{device} ({name})",
            "dtype": self._about[0]["dtype"],
            "seconds": seconds,
            "sampled": self._made,
            "times": {name: round(seconds, 1) for name, seconds in times.items()},
            "versions": {**versions(), "tunemv3d-eval": __version__},
            "checkpoints": self._about,
        }
        report = build_report(header, self._scored, self._chosen.metrics, set(failed) - answered, len(self._prompts))
        reasons = {metric: "; ".join(dict.fromkeys(reasons)) for metric, reasons in skipped.items()}
        return {**report, "failed": failed, "skipped": reasons, "warnings": warned}


def _warn(text: str) -> None:
    warnings.warn(text, TuneMV3DWarning, stacklevel=2)


def _settings(loaded: LoadedCheckpoint, protocol: Protocol) -> Settings:
    """Return the protocol's options where it has some, else the checkpoint's.

    Raises:
        TuneMV3DError: an option out of its range, or a size that the model does not have.
    """
    own = loaded.spec.sample
    options = own.merged(steps=protocol.steps, guidance=protocol.guidance, scheduler=protocol.scheduler)
    latent_size(loaded.model.backbone.ports, options.size)
    strengths = protocol.consistency or _swept(own.consistency)
    plain = loaded.model.field is None
    return Settings((0.0,) if plain else strengths, options, protocol.views, protocol.elevation)


def _swept(default: Consistency) -> tuple[Consistency, ...]:
    """The frozen model, the modulated one and the checkpoint's own K, in rising order of their first value."""
    return tuple(sorted({0.0, 1.0, default}, key=check_consistency))


def _refuse_unmet(chosen: Chosen, needs: Needs, records: bool) -> None:
    """Refuse a metric that was asked for by name and can measure nothing here."""
    for each in chosen.metrics:
        if reason := needs.lacking(each.metric, records):
            raise TuneMV3DError(f"--metric {each.name}: {reason}")


def _check_folder(out: Path, score_only: bool) -> None:
    """Find out before the work whether its results can be kept, and whether others lie there.

    Raises:
        TuneMV3DError: it is no folder, holds an evaluation without the samples that it is of, or holds none to score.
    """
    report, has_samples = out / "evaluate.json", (out / "samples.jsonl").is_file()
    if score_only and not has_samples:
        raise TuneMV3DError(
            f"--score-only: {out} holds no samples; leave it out to make them, or name their folder by --out"
        )
    if report.exists() and (read_json(report).get("format") != FORMAT or not has_samples):
        raise TuneMV3DError(f"--out {out}: holds an evaluation already; choose another folder or remove it")
    try:
        (out / "pictures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuneMV3DError(f"--out {out}: cannot be used as a folder: {error}") from error


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the folder: two that write the same samples at once would spoil them. A killed process holds nothing."""
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout:
        raise TuneMV3DError(
            f"--out {out}: another process evaluates in this folder; wait for its end, or choose another"
        ) from None


def _device(device: torch.device) -> tuple[str, str]:
    """A device and what it is called."""
    return str(device), torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
