"""The fused aggregator against the plain one on a GPU: errors against float64, milliseconds, memory.

Run it as ``python benchmarks/aggregator.py [--json aggregator.json] [--points 245760]``.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.rendering.view_features import mean_variance
from tunemv3d_neus.kernels import mean_variance as kernels
from tunemv3d_neus.kernels.mean_variance import fused_mean_variance

OBJECTS, VIEWS, SIZE, SAMPLES = 8, 8, 32, 24
Aggregate = Callable[[Tensor, Cameras, Tensor], Tensor]


def plain(features: Tensor, cameras: Cameras, points: Tensor) -> Tensor:
    return mean_variance(features.float(), cameras, points)


def ray_points(count: int, device: torch.device) -> Tensor:
    """Points ``b count 3`` in the order in which a field visits them: along rays of an orbit."""
    views = math.ceil(count / (SIZE * SIZE * SAMPLES))
    rays = Cameras.orbit(views, elevation=10.0, azimuth=7.0).to(device).rays((SIZE, SIZE))
    near, far, _ = intersect_sphere(rays)
    depths = near[..., None] + (far - near)[..., None] * torch.linspace(0, 1, SAMPLES, device=device)
    points = rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]
    return points.reshape(-1, 3)[:count].expand(OBJECTS, -1, -1).contiguous()


def milliseconds(run: Callable[[], object], repeats: int = 20) -> float:
    """Median time of a call, by CUDA events."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def errors(features: Tensor, cameras: Cameras, points: Tensor) -> dict[str, float]:
    """Largest errors of the fused path and its gradient against float64, relative to the largest exact number.

    Points that lie on an image's edge up to rounding may be seen or not; they are counted and left out.
    """
    fused = fused_mean_variance(features, cameras, points)
    exact = features.detach().double().requires_grad_()
    reference = mean_variance(exact, cameras.to(torch.float64), points.double())
    agree = (fused[..., -1:] - reference[..., -1:]).abs() < 1e-3
    weights = torch.randn_like(fused) * agree
    (gradient,) = torch.autograd.grad((fused * weights).sum(), features)
    (wanted,) = torch.autograd.grad((reference * weights.double()).sum(), exact)
    return {
        "forward_error": float(((fused - reference) * agree).detach().abs().max() / reference.detach().abs().max()),
        "backward_error": float((gradient.double() - wanted).abs().max() / wanted.abs().max()),
        "points_on_an_edge": int((~agree).sum()),
    }


def cost(aggregate: Aggregate, features: Tensor, cameras: Cameras, points: Tensor) -> dict[str, float | str]:
    """Time forward without gradient, and forward + backward; and the peak memory of the latter."""

    def forward() -> None:
        with torch.no_grad():
            aggregate(features, cameras, points)

    def both() -> None:
        merged = aggregate(features, cameras, points)
        torch.autograd.grad(merged, features, upstream)

    try:
        upstream = torch.randn(OBJECTS, points.shape[1], 2 * features.shape[2] + 1, device=points.device)
        forward_ms = milliseconds(forward)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        both_ms = milliseconds(both)
        peak = (torch.cuda.max_memory_allocated() - before) / 2**30
        return {"forward_ms": round(forward_ms, 3), "both_ms": round(both_ms, 3), "peak_gib": round(peak, 2)}
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {"failed": "out of memory"}


def captures(features: Tensor, cameras: Cameras, points: Tensor) -> bool:
    """Whether forward + backward of the fused path replays from a CUDA graph with the same result."""

    def both() -> Tensor:
        merged = fused_mean_variance(features, cameras, points)
        return torch.autograd.grad(merged.square().sum(), features)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        eager = both()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = both()
    graph.replay()
    torch.cuda.synchronize()
    return bool((replayed - eager).abs().max() <= 2e-2 * eager.abs().max())


def measure(channels: int, dtype: torch.dtype, count: int) -> dict[str, Any]:
    device = torch.device("cuda")
    torch.manual_seed(0)
    features = torch.randn(OBJECTS, VIEWS, SIZE, SIZE, channels, device=device).to(dtype)
    features = features.permute(0, 1, 4, 2, 3).requires_grad_()
    # Near enough that parts of the sphere lie outside the images.
    cameras = Cameras.orbit(VIEWS, distance=2.0).to(device)[None].expand(OBJECTS, VIEWS)
    points = ray_points(count, device)
    row: dict[str, Any] = {"channels": channels, "dtype": str(dtype).removeprefix("torch."), "points": count * OBJECTS}
    row |= errors(features, cameras, points[:, :: max(1, count // 8192)])
    row["captures"] = captures(features, cameras, points)
    row["plain"] = cost(plain, features, cameras, points)
    row["fused"] = {}
    default = kernels.BLOCK_VALUES
    for block in (256, 512, 1024, 2048, 4096):
        kernels.BLOCK_VALUES = block
        row["fused"][block] = cost(fused_mean_variance, features, cameras, points)
    kernels.BLOCK_VALUES = default
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    parser.add_argument("--points", type=int, default=245_760, help="points of each of the 8 objects")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing to measure", file=sys.stderr)
        return 2
    rows = []
    for channels in (16, 32):
        for dtype in (torch.float32, torch.bfloat16):
            row = measure(channels, dtype, options.points)
            rows.append(row)
            print(
                f"f = {channels}, {row['dtype']}, {row['points']:,} points, 8 views: forward error "
                f"{row['forward_error']:.1e}, backward error {row['backward_error']:.1e}, "
                f"{row['points_on_an_edge']} points on an edge, captured by a CUDA graph: {row['captures']}"
            )
            print(f"  plain            {row['plain']}")
            for block, numbers in row["fused"].items():
                mark = " (default)" if block == kernels.BLOCK_VALUES else ""
                print(f"  fused block {block:<5}{numbers}{mark}", flush=True)
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    good = all(row["forward_error"] < 1e-4 and row["backward_error"] < 1e-2 and row["captures"] for row in rows)
    print("all within bounds" if good else "OUT OF BOUNDS: see the errors above")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
