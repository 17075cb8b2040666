"""What a step costs on one GPU and on several: objects per second, memory, communication, and waiting for pictures.

    python benchmarks/scaling.py prepare WORK --size 32
    torchrun --standalone --nproc-per-node 2 benchmarks/scaling.py run WORK --size 32 --json scaling-2.json

``prepare`` writes Stable Diffusion 1.5 with random weights (2 GiB) and the packaged chairs enlarged to 8 times the
latents' size. ``run`` trains ``paper-shapenet-chair`` on them, 4 objects a process, and appends to the JSON's list: the
median time of a step with and without the sum of gradients over processes, so that the difference is what
communication adds; the time of that sum alone; the peak memory of the rank that needs most.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.utils import gather_object
from PIL import Image
from torch.nn.parallel import DistributedDataParallel

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_train.trainer import Trainer, opened

sys.path.append(str(Path(__file__).parents[1] / "tunemv3d_modulation" / "tests"))

WARMUP = 14
LORA = 'model.lifter={"type": "lora-encoder"}'
IN_PIXELS = ("w", "h", "fl_x", "fl_y", "cx", "cy")


def prepare_base(work: Path) -> Path:
    """Write the random pipeline once; return its folder."""
    from full_size_pipeline import save_pipeline

    base = work / "sd15-random"
    if not base.exists():
        save_pipeline(base)
    return base


def prepare(work: Path, size: int, objects: int | None = None) -> None:
    """Write the random pipeline and the enlarged chairs, or the first so many of them, each once."""
    prepare_base(work)
    source, target = find_asset("chairs"), work / f"chairs-{8 * size}"
    if target.exists():
        return
    for folder in sorted((source / "objects").iterdir())[:objects]:
        place = target / "objects" / folder.name
        place.mkdir(parents=True)
        record = json.loads((folder / "transforms.json").read_text(encoding="utf-8"))
        factor = 8 * size / record["w"]
        record |= {name: record[name] * factor for name in IN_PIXELS} | {"w": 8 * size, "h": 8 * size}
        (place / "transforms.json").write_text(json.dumps(record), encoding="utf-8")
        for path in folder.glob("*.webp"):
            Image.open(path).resize((8 * size, 8 * size)).save(place / path.name, lossless=True, method=0)
    listed = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    listed["objects"] = [each for each in listed["objects"] if (target / "objects" / each["id"]).exists()]
    (target / "dataset.json").write_text(json.dumps(listed), encoding="utf-8")


def median_seconds(run: Callable[[int], object], first: int, count: int) -> float:
    """The median time of a call, each waited for."""
    times = []
    for number in range(first, first + count):
        start = time.perf_counter()
        run(number)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measured(trainer: Trainer, steps: int) -> dict[str, Any]:
    """Figures of this process."""
    parts, accelerator = trainer.parts, trainer.accelerator
    # From here on, because a CUDA graph takes its memory when it is captured.
    torch.cuda.reset_peak_memory_stats()
    median_seconds(trainer.step, 0, WARMUP)
    figures = {"step": median_seconds(trainer.step, WARMUP, steps)}
    figures["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    figures["drawing"] = median_seconds(lambda number: parts.batches(parts.sampler.plan(number)), 10**6, steps)
    if accelerator.num_processes > 1:
        if isinstance(parts.step, DistributedDataParallel):
            # The weights of the processes part here; nothing but time is asked of these steps.
            with accelerator.no_sync(parts.step):
                figures["step_alone"] = median_seconds(trainer.step, WARMUP + steps, steps)
        gradients = torch.zeros(sum(p.numel() for p in parts.parameters.values()), device=accelerator.device)
        figures["sum_alone"] = median_seconds(lambda _: dist.all_reduce(gradients), 0, steps)
    return figures


def run(options: argparse.Namespace) -> None:
    pictures = options.work / f"chairs-{8 * options.size}"
    fixed = [f"model.backbone.pretrained={options.work / options.base}", f"data.path={pictures}"]
    fixed += ["data.cache_latents=true", "train.steps=1000000", f"sample.size=[{8 * options.size}, {8 * options.size}]"]
    fixed += ["train.cuda_graph=false", "train.preview_every=0", 'train.preview_prompts=["a red chair"]', *options.set]
    spec = load_spec(options.spec, [*fixed, *([LORA] if options.lora else [])])
    with opened(spec, options.work / f"run-{spec_id(spec)[:8]}-{options.json.stem}") as trainer:
        figures = gather_object([measured(trainer, options.steps)])
        if not trainer.accelerator.is_main_process:
            return
        count, trained = trainer.accelerator.num_processes, sum(p.numel() for p in trainer.parts.parameters.values())
    slowest = {name: max(each[name] for each in figures) for name in figures[0]}
    row = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "processes": count,
        "spec": options.spec,
        "latents": options.size,
        "lifter": spec.model.lifter.type,
        "set": options.set,
        "batch": spec.train.batch,
        "trained_parameters": trained,
        "objects_per_second": spec.train.batch * count / slowest["step"],
        **slowest,
    }
    print(json.dumps(row))
    rows = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else []
    options.json.write_text(json.dumps([*rows, row], indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "run"])
    parser.add_argument("work", type=Path)
    parser.add_argument("--spec", default="paper-shapenet-chair")
    parser.add_argument("--base", default="sd15-random", help="folder of the frozen model in WORK")
    parser.add_argument("--size", type=int, default=32, help="of the latents")
    parser.add_argument("--lora", action="store_true", help="LoRA in place of the copied encoder")
    parser.add_argument("--set", action="append", default=[], help="override, such as train.batch=2")
    parser.add_argument("--steps", type=int, default=24, help="that are measured, after some that are not")
    parser.add_argument("--json", type=Path, default=Path("scaling.json"))
    options = parser.parse_args()
    if options.what == "prepare":
        prepare(options.work, options.size)
    else:
        run(options)


if __name__ == "__main__":
    main()
