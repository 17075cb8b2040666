"""All fields and injectors under one study: the same views, losses, steps and held-out objects; only one slot differs.

    python benchmarks/fields.py train RUNS --steps 1500 chairs-mini triplane-mini density-mini ...
    python benchmarks/fields.py cost RUNS chairs-mini triplane-mini density-mini ...
    python benchmarks/fields.py table RUNS --json benchmarks/results/fields.json

``train`` runs the trainer on each spec, ``--jobs`` at a time; ``cost`` measures one training step of each, alone on the
device; ``table`` gathers both into JSON and prints Markdown.
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from training_step import parts

from tunemv3d_core.assemble import assemble
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec

STUDY = (
    "train.batch=8",
    "train.precision=bf16",
    "train.cuda_graph=true",
    "train.ema=0.999",
    "train.log_every=100",
    "train.checkpoint_every=100000",
    "train.preview_every=0",
    "views.novel_pixels=0.25",
    "loss.mask=0.5",
    "loss.weighting=v",
    "optimizer.warmup=200",
    "data.cache_latents=true",
)
"""What is set over every spec on a GPU."""

POINTS = ("model.field.samples=8", "model.field.fine_samples=16")
"""What is set over the specs whose field has points on rays."""

FIELD_SHARE = 0.15
"""Of the factors that a mini spec gives its field's learning rates."""


def study(name: str, steps: int, more: list[str]) -> list[str]:
    """The overrides of one spec."""
    spec = load_spec(name)
    field = spec.model.field
    points = POINTS if hasattr(field, "fine_samples") else ()
    return [*STUDY, *points, f"optimizer.parts={json.dumps(learning(spec))}", f"train.steps={steps}", *more]


def learning(spec: RunSpec) -> dict[str, dict[str, float]]:
    """The mini specs' factors suit 170 steps; over a thousand steps a field takes the same share of its own."""
    own = {
        name: 1.0 if part.lr_scale is None else part.lr_scale
        for name, part in spec.optimizer.parts.items()
        if name.startswith("field")
    }
    scales = {name: FIELD_SHARE * factor for name, factor in own.items()}
    scales |= {"lifter": 0.2, "lifter.stem": 0.5, "injector": 0.5}
    return {name: {"lr_scale": scale} for name, scale in scales.items()}


def train(options: argparse.Namespace) -> None:
    """Run the trainer on each spec that has not been finished yet."""

    def run(name: str) -> None:
        out = options.runs / name
        sets = [word for each in study(name, options.steps, options.set) for word in ("--set", each)]
        resume = ["--resume"] if (out / "checkpoints").is_dir() else []
        command = [sys.executable, "-m", "tunemv3d_train", name, "--out", str(out), *resume, *sets]
        start = time.perf_counter()
        with (options.runs / f"{name}.log").open("a", encoding="utf-8") as log:
            code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
        print(f"{name}: exit {code} after {time.perf_counter() - start:.0f} s", flush=True)

    options.runs.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, options.specs))


def cost(options: argparse.Namespace) -> None:
    """Measure one training step of each spec and count its parameters."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in options.specs:
        spec = load_spec(name, study(name, 1, options.set))
        torch.manual_seed(0)
        model = assemble(spec.model, device)
        model.backbone.requires_grad_(False)
        counts = {slot: sum(p.numel() for p in part.parameters()) for slot, part in model.slots().items()}
        size = model.backbone.ports.latent_size
        found = {"parameters": counts, "parts": parts(model, spec, size, device), "device": device_name(device)}
        options.runs.mkdir(parents=True, exist_ok=True)
        (options.runs / f"{name}.cost.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(name, json.dumps(found["parts"]["step"]), flush=True)


def table(options: argparse.Namespace) -> None:
    """Gather everything that a folder of runs holds."""
    rows = [row(path.parent) for path in sorted(options.runs.glob("*/metrics.jsonl"))]
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "torch": torch.__version__,
        "study": [*STUDY, *POINTS],
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    heads = ("spec", "field, injector", "L_neus, inputs / novel", "opacity IoU", "steps/s")
    heads += ("field / step, ms", "peak, GiB", "parameters")
    print("| " + " | ".join(heads) + " |")
    print("|" + " --- |" * len(heads))
    for each in rows:
        print(_line(each))


def row(run: Path) -> dict[str, Any]:
    """One run's figures."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    held_out = [{k: v for k, v in line.items() if k.startswith("held_out/")} for line in lines]
    speeds = sorted(line["steps_per_s"] for line in lines if "steps_per_s" in line)
    spec = RunSpec.model_validate_json((run / "spec.json").read_text(encoding="utf-8"))
    costs = run.with_name(f"{run.name}.cost.json")
    return {
        "spec": run.name,
        "slots": {slot: part.type for slot, part in spec.model if part is not None},
        "steps": max(line["step"] for line in lines),
        "held_out": [figures for figures in held_out if figures][-1],
        "steps_per_s": speeds[len(speeds) // 2],
        "cost": json.loads(costs.read_text(encoding="utf-8")) if costs.is_file() else None,
    }


def _line(each: dict[str, Any]) -> str:
    figures, found = each["held_out"], each["cost"]
    novel = figures.get("held_out/neus_novel")
    neus = f"{figures['held_out/neus_inputs']:.4f} / {'-' if novel is None else f'{novel:.4f}'}"
    cells = [each["spec"], f"{each['slots']['field']}, {each['slots']['injector']}", neus]
    cells += [f"{figures['held_out/opacity_iou']:.3f}", f"{each['steps_per_s']:.1f}"]
    if found is not None:
        step, field = found["parts"]["step"], found["parts"]["field"]
        cells += [f"{field['seconds'] * 1e3:.0f} / {step['seconds'] * 1e3:.0f}", f"{step.get('peak_gib', 0):.1f}"]
        cells += [f"{(found['parameters']['field'] + found['parameters']['injector']) / 1e3:.0f} k"]
    return "| " + " | ".join(cells) + " |"


def device_name(device: torch.device) -> str:
    """The device in words."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def main() -> None:
    """Run with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "cost", "table"))
    parser.add_argument("runs", type=Path, help="folder of the runs")
    parser.add_argument("specs", nargs="*")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--set", action="append", default=[], help="one more override of every spec")
    parser.add_argument("--json", type=Path, help="where the table's figures go")
    options = parser.parse_args()
    {"train": train, "cost": cost, "table": table}[options.what](options)


if __name__ == "__main__":
    main()
