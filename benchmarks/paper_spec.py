"""``paper-shapenet-chair`` at full size with random weights for 20 steps.

Run it as ``python benchmarks/paper_spec.py DATASET WORK [--set ...]``. DATASET has pictures of 8 times the latents'
size. WORK gets the random pipeline (2 GiB, once) and the run. Prints JSON: the losses, the median time of a step, and
on a GPU the peak memory of the steps after the first, optimizer included.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch

from tunemv3d_core.config.loading import load_spec

sys.path.append(str(Path(__file__).parents[1] / "tunemv3d_modulation" / "tests"))

STEPS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--spec", default="paper-shapenet-chair")
    parser.add_argument("--set", action="append", default=[], help="override, such as train.batch=2")
    options = parser.parse_args()
    from full_size_pipeline import save_pipeline

    from tunemv3d_train.trainer import Trainer, train

    base = options.work / "sd15-random"
    if not base.exists():
        save_pipeline(base)
    first = next(options.dataset.glob("objects/*/transforms.json"))
    size = [json.loads(first.read_text())[side] for side in ("h", "w")]
    fixed = [f"model.backbone.pretrained={base}", f"data.path={options.dataset}", "train.log_every=1"]
    fixed += [f"train.steps={STEPS}", f"train.checkpoint_every={STEPS}", 'train.preview_prompts=["a red chair"]']
    spec = load_spec(options.spec, [*fixed, "sample.steps=1", f"sample.size={size}", *options.set])
    times: list[float] = []
    one_step = Trainer.step

    def timed(self: Trainer, step: int) -> None:
        start = time.perf_counter()
        one_step(self, step)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        if step == 0 and torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    Trainer.step = timed  # type: ignore[method-assign]
    out = options.work / f"{options.spec}-{time.strftime('%H%M%S')}"
    train(spec, out)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [{name: line[name] for name in ("step", "loss", "denoise", "neus")} for line in lines if "loss" in line]
    report = {
        "spec": options.spec,
        "set": options.set,
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "torch": torch.__version__,
        "step_ms": round(1e3 * statistics.median(times[5:]), 1),
        "losses": losses,
    }
    if torch.cuda.is_available():
        report["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
