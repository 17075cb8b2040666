"""Whether the field's kernels learn what its plain layers learn: losses of the same steps, by several seeds.

    python benchmarks/curves.py WORK --size 32 --steps 500 --json curves.json [--seeds 0,1,2] [--only kernels,plain]

``paper-shapenet-chair`` on random weights in Stable Diffusion 1.5's sizes and the packaged chairs, enlarged to 8 times
the latents' size. Rows are appended to the JSON: means of L_neus over ten steps each. Prints, for each ten steps, how
far the means of both ways lie apart, and the spread of the seeds of one way.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from scaling import prepare

from tunemv3d_core.config.loading import load_spec
from tunemv3d_neus.kernels import availability
from tunemv3d_train.trainer import opened

MEAN_OF = 10
OBJECTS = 12


def curve(options: argparse.Namespace, way: str, seed: int) -> list[float]:
    """Train, and return means of L_neus."""
    pixels = 8 * options.size
    fixed = [f"model.backbone.pretrained={options.work / 'sd15-random'}"]
    fixed += [f"data.path={options.work / f'chairs-{pixels}'}", f"sample.size=[{pixels}, {pixels}]", f"seed={seed}"]
    fixed += [f"train.steps={options.steps}", 'train.preview_prompts=["a red chair"]', "train.cuda_graph=true"]
    out = options.work / "curves"
    shutil.rmtree(out, ignore_errors=True)
    found = []
    with opened(load_spec(options.spec, [*fixed, *options.set]), out) as trainer:
        for step in range(options.steps):
            trainer.step(step)
            if (step + 1) % MEAN_OF == 0:
                found.append(trainer.losses()["neus"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--spec", default="paper-shapenet-chair")
    parser.add_argument("--size", type=int, default=32, help="of the latents")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default="kernels,plain")
    parser.add_argument("--set", action="append", default=[], help="override, such as model.field.samples=32")
    parser.add_argument("--json", type=Path, default=Path("curves.json"))
    options = parser.parse_args()
    prepare(options.work, options.size, OBJECTS)
    kernels_run = availability.kernels_run
    if not torch.cuda.is_available() or not kernels_run(torch.device("cuda")):
        sys.exit("the kernels do not run here, so that there is nothing to compare")
    about = {"date": time.strftime("%Y-%m-%d"), "device": torch.cuda.get_device_name(), "torch": torch.__version__}
    about |= {"spec": options.spec, "set": options.set}
    rows: list[dict[str, Any]] = json.loads(options.json.read_text("utf-8")) if options.json.exists() else []
    for seed in map(int, options.seeds.split(",")):
        for way in options.only.split(","):
            availability.kernels_run = kernels_run if way == "kernels" else lambda device: False
            losses = curve(options, way, seed)
            rows.append({**about, "latents": options.size, "way": way, "seed": seed, "neus": losses})
            options.json.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    alike = [row for row in rows if row["latents"] == options.size and row["set"] == options.set]
    for step, (gap, spread) in enumerate(compared(alike), 1):
        print(f"step {MEAN_OF * step}: ways {gap:.4f} apart, seeds {spread:.4f}")


def compared(rows: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Gaps of the ways' means over seeds, and the largest spread of seeds of one way, both as shares of the mean."""
    ways: dict[str, list[list[float]]] = {}
    for row in rows:
        ways.setdefault(row["way"], []).append(row["neus"])
    found = []
    for step in range(min(len(curve) for curves in ways.values() for curve in curves)):
        values = [[curve[step] for curve in curves] for curves in ways.values()]
        means = [statistics.mean(each) for each in values]
        spread = max(max(each) - min(each) for each in values)
        found.append(((max(means) - min(means)) / means[0], spread / means[0]))
    return found


if __name__ == "__main__":
    sys.exit(main())
