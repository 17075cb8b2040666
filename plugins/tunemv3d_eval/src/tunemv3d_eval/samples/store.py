"""Samples on disk, each with its prompt, noise, K, cameras, options and checkpoint, and an index of their hashes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tunemv3d_core import __version__
from tunemv3d_core.consistency import Consistency, format_consistency
from tunemv3d_core.errors import SampleError
from tunemv3d_core.io.atomic import atomic_file, make_folders
from tunemv3d_core.io.json_files import parse
from tunemv3d_core.io.provenance import sha256
from tunemv3d_eval.lines import Lines
from tunemv3d_eval.samples.identity import Identity
from tunemv3d_eval.samples.jobs import Job, Settings

FORMAT = "tunemv3d-evaluation-sample/1"
ABSENT = "is not there"
DAMAGED = "is damaged: its hash is not the one in samples.jsonl"
NOT_FINITE = "sampling gave numbers that are not finite"


@dataclass(frozen=True)
class StoredSample:
    """A sample as it is read again.

    Attributes:
        sha256: of its file; "" where there is none that can be used.
        latents: ``n c h w`` on the CPU; None where it cannot be measured.
        error: why the sampling failed; "" where it did not.
        fault: why the file cannot be used; "" where it can.
    """

    sha256: str
    latents: Tensor | None = None
    error: str = ""
    fault: str = ""


class SampleStore:
    """The samples of one checkpoint in an evaluation's folder.

    Args:
        out: the evaluation's folder.
        identity: of the checkpoint.
        settings: of the sampling.
        index: of all samples in the folder, ``samples.jsonl``, by file.
    """

    def __init__(self, out: Path, identity: Identity, settings: Settings, index: Lines) -> None:
        self._out, self._identity, self._settings, self._index = out, identity, settings, index

    def about(self, k: Consistency, job: Job) -> dict[str, Any]:
        """Return what a sample's file says of it."""
        return {
            "format": FORMAT,
            "version": __version__,
            "prompt": job.prompt,
            "seed": job.seed,
            "consistency": list(k) if isinstance(k, tuple) else k,
            **self._settings.as_json(),
            "checkpoint": self._identity.bound(),
        }

    def file(self, k: Consistency, job: Job) -> str:
        """Return the path of a sample inside the evaluation's folder."""
        strength = format_consistency(k).replace(":", "-")
        return f"samples/{self._identity.label}/K{strength}/{job.index:03d}-{job.seed:03d}.safetensors"

    def write(self, k: Consistency, job: Job, latents: Tensor, images: Tensor) -> None:
        """Write a sample and its line of the index.

        Args:
            k: its K.
            job: its prompt and seed.
            latents: ``n c h w``, clean, on the CPU.
            images: ``n 3 H W``, its decoded views as bytes, on the CPU.
        """
        file = self.file(k, job)
        path = self._out / file
        make_folders(path.parent, durable=True)
        # One key, because the library writes several in any order.
        about = {"sample": json.dumps(self.about(k, job), sort_keys=True, ensure_ascii=False)}
        with atomic_file(path, durable=True) as beside:
            save_file({"latents": latents.contiguous(), "images": images.contiguous()}, beside, about)
        self._enter(k, job, latents)

    def fault(self, k: Consistency, job: Job) -> str:
        """Say why the sample's file cannot be used; "" where it can.

        A file that a kill left out of the index enters it.

        Returns:
            ``ABSENT``, ``DAMAGED``, or what of its identity differs.
        """
        file = self.file(k, job)
        if not (self._out / file).is_file():
            return ABSENT
        try:
            with safe_open(self._out / file, "pt") as opened:
                found = parse((opened.metadata() or {}).get("sample", "{}"))
                if file not in self._index:
                    latents = opened.get_tensor("latents")
        except (SafetensorError, OSError, ValueError):
            return DAMAGED
        if difference := _difference(found, self.about(k, job)):
            return difference
        if file not in self._index:
            self._enter(k, job, latents)
        return "" if self._index[file]["sha256"] == sha256(self._out / file) else DAMAGED

    def read(self, k: Consistency, job: Job) -> StoredSample:
        """Read a sample; one that cannot be used says why."""
        if fault := self.fault(k, job):
            return StoredSample("", fault=f"{self.file(k, job)} {fault}")
        line = self._index[self.file(k, job)]
        if line["error"]:
            return StoredSample(line["sha256"], error=line["error"])
        with safe_open(self._out / self.file(k, job), "pt") as opened:
            return StoredSample(line["sha256"], opened.get_tensor("latents"))

    def check(self, k: Consistency, job: Job) -> bool:
        """Tell whether the sample is there; one that is damaged is not.

        Raises:
            SampleError: a sample of another checkpoint or of other options is in its place.
        """
        fault = self.fault(k, job)
        if fault not in ("", ABSENT, DAMAGED):
            raise SampleError(
                f"{self._out / self.file(k, job)}: {fault}; choose another --out, or add --score-only, which measures "
                "the samples that fit"
            )
        return not fault

    def _enter(self, k: Consistency, job: Job, latents: Tensor) -> None:
        file = self.file(k, job)
        self._index.add(
            file,
            {
                "file": file,
                "sha256": sha256(self._out / file),
                "checkpoint": self._identity.label,
                "consistency": k,
                "prompt": job.prompt,
                "seed": job.seed,
                "error": None if bool(latents.isfinite().all()) else NOT_FINITE,
            },
        )


def as_bytes(images: Tensor) -> Tensor:
    """Convert decoded pictures in [-1, 1] to bytes; what is not finite becomes 0."""
    return ((images.float().nan_to_num(-1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _difference(found: dict[str, Any], wanted: dict[str, Any], inside: str = "") -> str:
    """Say what of a sample is another than it should be, the first such thing; "" where all is as it should."""
    for name, value in wanted.items():
        there = found.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            if difference := _difference(there, value, f"{name}'s "):
                return difference
        elif there != value:
            said = "by version" if name == "version" else f"with another {inside}{name}:"
            return f"was made {said} {_short(there)}; this is {_short(value)}"
    return ""


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:18]}...{text[-4:]}"
