"""The least that the operators of a training step can take, one after another.

    python benchmarks/floor.py WORK [--device h200] [--set ...]

The step of the paper's spec is followed on tensors without numbers, at 32 x 32 and 64 x 64 latents, as `tunemv3d plan`
does. Prints JSON: floating-point operations, bytes that operators read and write, milliseconds of both at the device's
full rates, and ``floor_ms``, for which every operator takes the longer of its two. WORK gets Stable Diffusion's configs
with random weights (2 GiB, once) and pictures of discs.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from plan import write_discs
from scaling import prepare_base

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_train.planning.dataset_size import dataset_size
from tunemv3d_train.planning.devices import Device, device_of
from tunemv3d_train.planning.estimate import HALF
from tunemv3d_train.planning.operations import Operation
from tunemv3d_train.planning.tracing import Tracer

SIZES = (32, 64)


def least(operation: Operation, device: Device) -> tuple[float, float]:
    """Milliseconds of an operator's arithmetic and of its bytes at full rates; a kernel that tells none does none."""
    assert device.rates is not None
    rate = device.rates.half if operation.dtype in HALF else device.rates.tf32
    return 1e3 * operation.flops / rate, 1e3 * operation.moved / device.rates.moved


def row(spec: RunSpec, size: int, device: Device) -> dict[str, Any]:
    """Count the operators of a step by part."""
    seen = Tracer(device.place).trace(spec, dataset_size(spec).maps)
    parts: dict[str, dict[str, float]] = {}
    for each in [*seen.passed, *seen.updated]:
        computing, moving = least(each, device)
        part = parts.setdefault(each.part, dict.fromkeys(("tflop", "gb", "computing_ms", "moving_ms", "floor_ms"), 0.0))
        counted = (each.flops / 1e12, each.moved / 1e9, computing, moving, max(computing, moving))
        for name, value in zip(part, counted, strict=True):
            part[name] += value
    total = {name: sum(part[name] for part in parts.values()) for name in next(iter(parts.values()))}
    rounded = {
        part: {name: round(value, 2) for name, value in counts.items()}
        for part, counts in {"all": total, **parts}.items()
    }
    return {"latents": size, "operators": len(seen.passed) + len(seen.updated), "kernels": seen.kernels, **rounded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--spec", default="paper-shapenet-chair")
    parser.add_argument("--device", default="h200")
    parser.add_argument("--set", action="append", default=[], help="override, such as model.field.samples=32")
    options = parser.parse_args()
    device, rows = device_of(options.device), []
    for size in SIZES:
        pictures = options.work / f"discs-{8 * size}"
        if not pictures.exists():
            write_discs(pictures, 8 * size)
        read = [f"model.backbone.pretrained={prepare_base(options.work)}", f"data.path={pictures}"]
        spec = load_spec(options.spec, [*read, f"sample.size=[{8 * size},{8 * size}]", *options.set])
        rows.append(row(spec, size, device))
    print(json.dumps({"date": time.strftime("%Y-%m-%d"), "device": device.name, "spec": options.spec, "rows": rows}))


if __name__ == "__main__":
    main()
