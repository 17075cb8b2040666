"""What the interaction field costs in a training step: 8 views whole, 8 novel views at a quarter of their pixels.

Run it as ``python benchmarks/field.py [--device cuda] [--objects 1] [--samples 16,24,32,8+16] [--hidden 64]
[--threads 1]``; 8+16 stands for 8 coarse and 16 fine samples.

On a CPU, processor time is reported (it does not count what else the machine does); on a GPU, wall time in eager mode
and replayed from a CUDA graph, under bfloat16 autocast.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import FieldPorts
from tunemv3d_neus.aggregator import MeanVariance
from tunemv3d_neus.field import NeuSField
from tunemv3d_neus.spec import MeanVarianceSpec, NeuSSpec

FEATURES, SIZE, VIEWS, NOVEL_PIXELS = 16, 32, 8, 256


def build_step(device: torch.device, objects: int, samples: list[int], hidden: int) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    merge = MeanVarianceSpec(type="mean-variance")
    spec = NeuSSpec(
        type="neus",
        aggregator=merge,
        hidden=hidden,
        samples=samples[0],
        fine_samples=sum(samples[1:]),
        radius=0.92,
        eikonal_points=512,
    )
    ports = FieldPorts(features=FEATURES, gives="latents", values=4)
    field = NeuSField(spec, ports, MeanVariance(FEATURES)).to(device)
    features = torch.randn(objects, VIEWS, FEATURES, SIZE, SIZE, device=device, requires_grad=True)
    seen = Cameras.orbit(VIEWS).to(device)[None].expand(objects, VIEWS)
    novel = Cameras.orbit(VIEWS, elevation=10.0, azimuth=20.0).to(device)[None].expand(objects, VIEWS)
    pixels = torch.rand(objects, VIEWS, NOVEL_PIXELS, 2, device=device)
    t = torch.full((objects,), 500.0, device=device)

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False):
            scene = field.fuse(features, seen, t)
            inputs, novels = scene.render(seen, (SIZE, SIZE)), scene.render(novel, (SIZE, SIZE), pixels)
            loss = inputs.values.square().mean() + novels.values.mean() + inputs.opacity.mean()
            loss = loss + torch.stack(list(scene.losses().values())).sum()
        loss.backward()
        return loss

    return step


def seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """The least time of a call."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        start = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(clock() - start)
    return min(times[1:])


def captured(step: Callable[[], Tensor]) -> torch.cuda.CUDAGraph:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--samples", default="16,24,32")
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    for part in options.samples.split(","):
        samples = [int(count) for count in part.split("+")]
        step = build_step(device, options.objects, samples, options.hidden)
        points = options.objects * VIEWS * (SIZE * SIZE + NOVEL_PIXELS) * sum(samples)
        row = {"points": points, "step_s": seconds(step, device, options.repeats)}
        row["us_per_point"] = 1e6 * row["step_s"] / points
        if device.type == "cuda":
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
            row["graph_s"] = seconds(captured(step).replay, device, options.repeats)
        print(json.dumps({"samples": part} | {name: round(value, 5) for name, value in row.items()}), flush=True)


if __name__ == "__main__":
    main()
