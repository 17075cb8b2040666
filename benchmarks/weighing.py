"""What the aggregators cost a point: ``python benchmarks/weighing.py [--device cuda] [--json weighing-cpu.json]``.

Eight views of 32 x 32 cells, 16 features, in microseconds a point, forward alone and with backward; on a CPU the least
processor time of one thread. ``kept`` counts the numbers a point that the backward pass needs.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_neus.plugin import ATTENTION, MEAN_VARIANCE, VISIBILITY

FEATURES, VIEWS, SIZE = 16, 8, 32


def least_seconds(run: Callable[[], object], device: torch.device, repeats: int = 7) -> float:
    """The least time of a call after two that are not counted."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats + 2):
        start = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[2:])


def kept_numbers(run: Callable[[], Tensor]) -> int:
    """How many numbers autograd keeps, each storage counted once."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        held = run()
    del held
    return sum(storages.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--points", type=int, default=8192)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    device = torch.device(options.device)
    features = torch.randn(1, VIEWS, FEATURES, SIZE, SIZE, device=device, requires_grad=True)
    cameras = Cameras.orbit(VIEWS).to(device)[None]
    points = (torch.rand(1, options.points, 3, device=device) * 2 - 1) * 0.6
    upstream = torch.randn(1, options.points, 2 * FEATURES + 1, device=device)
    rows: list[dict[str, Any]] = []
    for plugin in (MEAN_VARIANCE, VISIBILITY, ATTENTION):
        merge = build_component("aggregator", plugin.spec(type=plugin.name), FEATURES).to(device)

        def forward(merge: torch.nn.Module = merge) -> Tensor:
            merged: Tensor = merge(features, cameras, points)
            return merged

        with torch.no_grad():
            alone = least_seconds(forward, device)
        both = least_seconds(lambda forward=forward: forward().backward(upstream), device)
        row: dict[str, Any] = {"aggregator": plugin.name, "us_forward": round(1e6 * alone / options.points, 2)}
        row |= {"us_both": round(1e6 * both / options.points, 2)}
        row |= {"kept": round(kept_numbers(forward) / options.points)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {"device": options.device, "torch": torch.__version__, "points": options.points, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
