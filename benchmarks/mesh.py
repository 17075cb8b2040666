"""Meshes of sampled objects: ``python benchmarks/mesh.py SAMPLES [--json mesh.json]``.

Each sampled object is meshed as ``tunemv3d mesh`` does it, in a process of its own, because the peak of memory belongs
to a process; the samples stay as they are. For each:

- ``surface_seconds``: zero level with and without the masks' correction at 256 cells a side, floaters removed;
- ``textured_seconds``: the rest up to the GLB's bytes;
- ``cpu_seconds``: of the whole process, loading included;
- ``peak_mib``: the process's peak resident memory, and ``surface_peak_mib`` when the surface was done;
- ``glb_mib``, ``faces``, ``raw_watertight``;
- ``iou_as_generated``, ``iou_corrected``, ``silhouette_iou``: of the surface without the correction, with it, and of
  the final mesh, with masks of held-out views;
- ``views_psnr``: of the field's own views with the sampled ones on white, dB.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_core.io.glb import glb
from tunemv3d_core.io.samples import find_samples, read_pictures
from tunemv3d_core.placement import Placement
from tunemv3d_shape.checkpoints import Checkpoints, read_whole_sample
from tunemv3d_shape.export import as_trimesh
from tunemv3d_shape.generate import MarchingCubes
from tunemv3d_shape.spec import MarchingCubesSpec


def peak_mib() -> int:
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(folder: Path, keep: Path | None) -> dict[str, Any]:
    """Mesh one object."""
    sample, pictures = read_whole_sample(folder), read_pictures(folder)
    shape = Checkpoints(Placement(torch.device("cpu"))).shape(sample)
    marks: dict[str, tuple[float, int]] = {}
    began = time.perf_counter()

    def on_stage(stage: str) -> None:
        marks[stage] = time.perf_counter() - began, peak_mib()

    made, whole = MarchingCubes(MarchingCubesSpec()).mesh_whole(shape, pictures, torch.device("cpu"), on_stage)
    content = glb(made, GeneratedBy.of(sample.manifest))
    seconds = time.perf_counter() - began
    found = {
        "object": folder.name,
        "prompt": sample.prompt,
        "surface_seconds": round(marks["simplify"][0], 2),
        "textured_seconds": round(seconds - marks["simplify"][0], 2),
        "cpu_seconds": round(time.process_time(), 2),
        "surface_peak_mib": marks["simplify"][1],
        "peak_mib": peak_mib(),
        "glb_mib": round(len(content) / 2**20, 2),
        "faces": len(made.faces),
        "raw_watertight": bool(as_trimesh(whole).is_watertight),
        **made.figures,
    }
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{folder.name}.glb").write_bytes(content)
    return found


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of every number, with the least and the largest."""
    numbers = [name for name, value in rows[0].items() if isinstance(value, (int, float)) and name != "raw_watertight"]
    columns = {name: [row[name] for row in rows if row[name] is not None] for name in numbers}
    found = {name: [round(statistics.mean(z), 3), min(z), max(z)] for name, z in columns.items() if z}
    return {**found, "raw_watertight": sum(row["raw_watertight"] for row in rows), "objects": len(rows)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="a folder of sampled objects, or one object's folder")
    parser.add_argument("--keep", type=Path, help="write the GLBs here")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--alone", action="store_true", help="measure one object in this process; prints its numbers")
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.samples, options.keep)))
        return
    rows: list[dict[str, Any]] = []
    for folder in find_samples(options.samples):
        keep = ["--keep", str(options.keep)] if options.keep else []
        command = [sys.executable, __file__, str(folder), "--alone", *keep]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        rows.append(json.loads(said.splitlines()[-1]))
        print(json.dumps(rows[-1]), flush=True)
    report = {
        "date": date.today().isoformat(),
        "device": f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()} cores",
        "torch": torch.__version__,
        "mean_least_largest": summary(rows),
        "objects": rows,
    }
    print(json.dumps(report["mean_least_largest"], indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
