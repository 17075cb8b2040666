"""What each way to save memory is worth: ``python benchmarks/memory_ladder.py WORK [--latents 64] [--set ...]``.

Random weights in Stable Diffusion 1.5's sizes (2 GiB in WORK, once) and drawn discs. Each rung has all that the rungs
before it have, and runs in a process of its own; ``--rung NAME`` asks for one. Prints JSON: the median time of a step,
and on a GPU its peak memory in GiB, as allocated and as reserved (the driver's own share comes on top).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io.posed_images import PosedImages, write_manifest, write_object

sys.path.append(str(Path(__file__).parents[1] / "tunemv3d_modulation" / "tests"))

RUNGS = {
    "plain": [],
    "decoder recomputed": ["model.backbone.gradient_checkpointing=true"],
    "2 x 2 objects": ["train.batch=2", "train.accumulate=2"],
    "4 x 1 objects": ["train.batch=1", "train.accumulate=4"],
    "a quarter of the novel pixels": ["views.novel_pixels=0.25"],
    "8-bit moments": ["optimizer.algorithm.type=adamw-8bit"],
    "LoRA for O": ['model.lifter={"type": "lora-encoder", "gradient_checkpointing": true}'],
}
"""Options by rung, from the most harmless on: recomputing and accumulating change nothing that is learned. All rungs
take eager steps; the paper's spec runs O again already (``--set model.lifter.gradient_checkpointing=false``: kept)."""

STEPS, COUNTED_FROM = 10, 3
OBJECTS, VIEWS = 4, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--spec", default="paper-shapenet-chair")
    parser.add_argument("--latents", type=int, default=64, help="side of a latent; pictures are 8 times as large")
    parser.add_argument("--base", type=Path, help="pipeline in place of the random one of full size")
    parser.add_argument("--rung", choices=list(RUNGS), help="this one alone, in this process")
    parser.add_argument("--device-memory", type=float, help="GiB of the GPU that may be used")
    parser.add_argument("--set", action="append", default=[], help="override for every rung")
    options = parser.parse_args()
    if options.rung:
        print(json.dumps(rung(options)))
        return
    found = []
    for name in RUNGS:
        command = [sys.executable, *sys.argv, "--rung", name]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        lines = told.stdout.strip().splitlines()
        found.append(json.loads(lines[-1]) if told.returncode == 0 and lines else {"rung": name, "failed": True})
    report = {
        "spec": options.spec,
        "set": options.set,
        "latents": options.latents,
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "rungs": found,
    }
    print(json.dumps(report))


def rung(options: argparse.Namespace) -> dict[str, Any]:
    """One rung's figures; without times where memory is too small."""
    from tunemv3d_train.optimisation import trainable
    from tunemv3d_train.trainer import opened

    names = list(RUNGS)
    given = [option for name in names[: names.index(options.rung) + 1] for option in RUNGS[name]]
    side = 8 * options.latents
    fixed = [f"model.backbone.pretrained={base(options)}", f"data.path={discs(options.work, side)}"]
    fixed += ["train.cuda_graph=false", f"train.steps={STEPS}", f"sample.size=[{side},{side}]"]
    fixed += ["train.preview_prompts=[]"]
    spec = load_spec(options.spec, [*fixed, *given, *options.set])
    on_gpu = torch.cuda.is_available()
    if on_gpu and options.device_memory:
        total = torch.cuda.get_device_properties(0).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, options.device_memory / total))
    figures: dict[str, Any] = {"rung": options.rung, "set": given}
    times = []
    try:
        with opened(spec, options.work / f"run-{time.time_ns()}") as trainer:
            figures["trained"] = sum(p.numel() for p in trainable(trainer.parts.model).values())
            for step in range(STEPS):
                start = time.perf_counter()
                trainer.step(step)
                if on_gpu:
                    torch.cuda.synchronize()
                times.append(time.perf_counter() - start)
                if step == 0 and on_gpu:
                    torch.cuda.reset_peak_memory_stats()
    except torch.OutOfMemoryError:
        return {**figures, "fits": False}
    figures["step_ms"] = round(1e3 * statistics.median(times[COUNTED_FROM:]), 1)
    if on_gpu:
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        figures["reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    return figures


def base(options: argparse.Namespace) -> Path:
    """The pipeline's folder; the random one is written where it is not there."""
    if options.base:
        return Path(options.base)
    from full_size_pipeline import save_pipeline

    folder: Path = options.work / "sd15-random"
    if not folder.exists():
        save_pipeline(folder)
    return folder


def discs(work: Path, side: int) -> Path:
    """A dataset of coloured discs, ``side`` pixels high and wide."""
    folder = work / f"discs-{side}"
    if folder.exists():
        return folder
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = np.hypot(x, y) < side / 3
    names = tuple(f"{k:03d}.png" for k in range(VIEWS))
    for number in range(OBJECTS):
        here = folder / "objects" / f"disc{number}"
        here.mkdir(parents=True)
        for k, name in enumerate(names):
            rgba = np.zeros((side, side, 4), dtype=np.uint8)
            rgba[inside] = (60 * number, 15 * k, 200, 255)
            Image.fromarray(rgba).save(here / name)
        known = (f"disc{number}", Cameras.orbit(VIEWS), (side, side), ("a disc",), names)
        write_object(here, PosedImages(*known, "CC0-1.0", "nobody", "drawn"))
    write_manifest(folder, "discs", {f"disc{number}": "train" for number in range(OBJECTS)})
    return folder


if __name__ == "__main__":
    main()
