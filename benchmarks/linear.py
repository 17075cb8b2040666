"""What a training step costs against views, pixels and samples: measured, and how well a line fits.

    python benchmarks/linear.py WORK --json linear.json [--only views,pixels,samples] [--set ...]

``paper-shapenet-chair`` on random weights in Stable Diffusion 1.5's sizes and the packaged chairs. One of the three is
changed at a time, from 8 views of 32 x 32 latents with 24 even samples. Prints JSON: median milliseconds of a step,
what a line by least squares says in their place, and its R^2.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scaling import prepare

from tunemv3d_core.config.loading import load_spec
from tunemv3d_train.trainer import opened

WARMUP, STEPS, OBJECTS = 14, 7, 12
AXES = {"views": (2, 4, 8, 12, 16), "pixels": (16, 32, 48, 64), "samples": (8, 24, 48, 64, 96)}
USUAL = {"views": 8, "pixels": 32, "samples": 24}


def milliseconds(options: argparse.Namespace, axis: str, value: int) -> float:
    """The median time of a step."""
    chosen = {**USUAL, axis: value}
    size = 8 * chosen["pixels"]
    prepare(options.work, chosen["pixels"], OBJECTS)
    fixed = [
        f"model.backbone.pretrained={options.work / 'sd15-random'}",
        f"data.path={options.work / f'chairs-{size}'}",
    ]
    fixed += [f"sample.size=[{size}, {size}]", "train.steps=1000000", 'train.preview_prompts=["a red chair"]']
    fixed += [f"views.inputs={chosen['views']}", "views.novel=4", "train.cuda_graph=true"]
    fixed += [f"model.field.samples={chosen['samples']}", "model.field.fine_samples=0"]
    out = options.work / "linear"
    shutil.rmtree(out, ignore_errors=True)
    times = []
    with opened(load_spec(options.spec, [*fixed, *options.set]), out) as trainer:
        for step in range(WARMUP + STEPS):
            start = time.perf_counter()
            trainer.step(step)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[WARMUP:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--spec", default="paper-shapenet-chair")
    parser.add_argument("--only", default=",".join(AXES))
    parser.add_argument("--set", action="append", default=[], help="override, such as train.batch=1")
    parser.add_argument("--json", type=Path, default=Path("linear.json"))
    options = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    about = {"date": time.strftime("%Y-%m-%d"), "device": device, "torch": torch.__version__, "set": options.set}
    rows = json.loads(options.json.read_text("utf-8")) if options.json.exists() else []
    for axis in options.only.split(","):
        # Latents have as many cells as their side squared.
        counts = [value**2 if axis == "pixels" else value for value in AXES[axis]]
        measured = [milliseconds(options, axis, value) for value in AXES[axis]]
        slope, start = np.polyfit(counts, measured, 1)
        fitted = [start + slope * count for count in counts]
        told = {"values": AXES[axis], "ms": np.round(measured, 1).tolist(), "line_ms": np.round(fitted, 1).tolist()}
        rows.append({**about, "axis": axis, **told, "r2": round(float(np.corrcoef(counts, measured)[0, 1] ** 2), 4)})
        print(json.dumps(rows[-1]), flush=True)
        options.json.write_text(json.dumps(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
