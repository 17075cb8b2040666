"""How right ``tunemv3d plan`` is: ``python benchmarks/plan.py WORK [--device cuda] [--only NAME]``.

Each case is planned by its shapes, then really trained for some steps by the trainer. WORK gets what that needs: for
Stable Diffusion's size a pipeline of random weights (2 GiB, once), pictures of discs, and the runs.

Prints JSON: peak of memory as planned and as measured (torch's ``max_memory_allocated`` after the first step), what
the allocator held, and seconds of a step as estimated, as measured by the plan, and as the trainer's took. A CPU
does the small cases alone, and its trainer also encodes pictures that it sees for the first time.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.io.posed_images import PosedImages, write_manifest, write_object
from tunemv3d_train.planning.devices import GIB, device_of
from tunemv3d_train.planning.plan import Planner
from tunemv3d_train.trainer import opened

sys.path.append(str(Path(__file__).parents[1] / "tunemv3d_modulation" / "tests"))

WARM_UP, TIMED = 14, 7

SMALL = {
    "chairs-mini": ("chairs-mini", []),
    "furniture-mini": ("furniture-mini", []),
}
ON_A_GPU = ["train.batch=8", "train.precision=bf16"]

LARGE = {
    "paper, 32 x 32, points kept": ("paper-shapenet-chair", 256, ["model.field.gradient_checkpointing=false"]),
    "paper, 64 x 64": ("paper-shapenet-chair", 512, []),
    "2D model, 32 x 32": ("baseline-2d", 256, []),
}
"""Specs, pixels of their pictures, and overrides."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", action="append", choices=[*SMALL, *LARGE], help="this case, or each of several")
    parser.add_argument("--device", default="")
    options = parser.parse_args()
    planner = Planner(device_of(options.device))
    on_gpu = planner.device.place.type == "cuda"
    names = options.only or [*SMALL, *(LARGE if on_gpu else ())]
    rows = [row(name, case(name, options.work, on_gpu), planner, options.work) for name in names]
    about = {"date": time.strftime("%Y-%m-%d"), "device": planner.device.name, "torch": torch.__version__}
    print(json.dumps({**about, "rows": rows}))


def case(name: str, work: Path, on_gpu: bool) -> RunSpec:
    """The spec of a case, with what it reads."""
    if name in SMALL:
        spec, more = SMALL[name]
        return load_spec(spec, [*(ON_A_GPU if on_gpu else ()), *more])
    from full_size_pipeline import save_pipeline

    spec, pixels, more = LARGE[name]
    base, pictures = work / "sd15-random", work / f"discs-{pixels}"
    if not base.exists():
        save_pipeline(base)
    if not pictures.exists():
        write_discs(pictures, pixels)
    read = [f"model.backbone.pretrained={base}", f"data.path={pictures}", f"sample.size=[{pixels},{pixels}]"]
    return load_spec(spec, [*read, *more])


def write_discs(folder: Path, pixels: int, objects: int = 6, views: int = 24) -> None:
    """Write a dataset of discs."""
    y, x = np.mgrid[:pixels, :pixels] - (pixels - 1) / 2
    files, cameras = tuple(f"{k:03d}.webp" for k in range(views)), Cameras.orbit(views)
    for number in range(objects):
        here = folder / "objects" / f"disc{number}"
        here.mkdir(parents=True)
        rgba = np.zeros((pixels, pixels, 4), dtype=np.uint8)
        rgba[np.hypot(x, y) < pixels * (0.2 + 0.03 * number)] = (40 * number, 90, 200, 255)
        for file in files:
            Image.fromarray(rgba).save(here / file, lossless=True)
        size, captions = (pixels, pixels), (f"disc number {number}",)
        write_object(here, PosedImages(here.name, cameras, size, captions, files, "CC0-1.0", "nobody", "here"))
    write_manifest(folder, "discs", {f"disc{number}": "train" for number in range(objects)})


def row(name: str, spec: RunSpec, planner: Planner, work: Path) -> dict[str, Any]:
    """Plan a case, and measure it."""
    start = time.perf_counter()
    plan = planner.plan(spec)
    took = time.perf_counter() - start
    tried = planner.tried(plan).measured
    told = plan.record()
    measured = trained(spec, work / "runs" / f"{spec.name}-{time.time_ns()}", planner.device.place)
    peak = measured.pop("peak_gib", None if tried is None or tried.peak is None else tried.peak / GIB)
    return {
        "case": name,
        "planned_in_seconds": round(took, 1),
        "memory_gib": told["memory_gib"],
        "planned_gib": told["peak_gib"],
        "measured_gib": peak,
        "planned / measured memory": peak and round(told["peak_gib"] / peak, 3),
        "estimated_seconds": round(sum(plan.times.values()), 4),
        "plan_measured_seconds": None if tried is None else round(tried.seconds, 4),
        **measured,
        "estimated / trained time": round(sum(plan.times.values()) / measured["trained_seconds"], 3),
        "plan_measured / trained time": None
        if tried is None
        else round(tried.seconds / measured["trained_seconds"], 3),
        "notes": told["notes"],
    }


def trained(spec: RunSpec, out: Path, place: torch.device) -> dict[str, Any]:
    """Seconds of a step of the trainer, and on a GPU its peak memory and what the allocator held, in GiB."""
    found: dict[str, Any] = {}
    with opened(spec, out) as trainer:
        times = []
        on_gpu = place.type == "cuda"
        warm_up, timed = (WARM_UP, TIMED) if on_gpu else (1, 2)
        for step in range(warm_up + timed):
            if step == 1 and on_gpu:  # and before a CUDA graph is captured, which is when it takes its memory
                torch.cuda.reset_peak_memory_stats(place)
            start = time.perf_counter()
            trainer.step(step)
            if on_gpu:
                torch.cuda.synchronize(place)
            times.append(time.perf_counter() - start)
        found["trained_seconds"] = round(statistics.median(times[warm_up:]), 4)
        if on_gpu:
            found["peak_gib"] = round(torch.cuda.max_memory_allocated(place) / GIB, 3)
            found["held_gib"] = round(torch.cuda.max_memory_reserved(place) / GIB, 3)
    del trainer
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
    return found


if __name__ == "__main__":
    main()
