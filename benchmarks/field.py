"""What the interaction field costs in a training step: 8 views whole, 8 novel ones at a quarter of their pixels.

    python benchmarks/field.py [--device cuda] [--objects 1] [--samples 16,24,32,8+16] [--threads 1]
    python benchmarks/field.py --device cuda --objects 4 --samples 64 --paper --size 64

8+16 stands for 8 coarse and 16 fine samples. ``--paper`` takes the field of ``paper-shapenet-chair``, with its 32
features and all pixels of the novel views, its points kept.

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
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.ports import FieldPorts
from tunemv3d_neus.aggregator import MeanVariance
from tunemv3d_neus.field import NeuSField
from tunemv3d_neus.spec import MeanVarianceSpec, NeuSSpec

VIEWS = 8


def build_step(device: torch.device, options: argparse.Namespace, samples: list[int]) -> Callable[[], Tensor]:
    torch.manual_seed(0)
    counts = {"samples": samples[0], "fine_samples": sum(samples[1:])}
    objects, size, features_count = options.objects, options.size, 32 if options.paper else 16
    if options.paper:
        paper = load_spec("paper-shapenet-chair").model.field
        assert isinstance(paper, NeuSSpec)
        spec = paper.model_copy(update={**counts, "gradient_checkpointing": False})
    else:
        merge = MeanVarianceSpec(type="mean-variance")
        shape = {"hidden": options.hidden, "radius": 0.92, "eikonal_points": 512}
        spec = NeuSSpec(type="neus", aggregator=merge, **shape, **counts)
    ports = FieldPorts(features=features_count, gives="latents", values=4)
    field = NeuSField(spec, ports, MeanVariance(features_count)).to(device)
    features = torch.randn(objects, VIEWS, features_count, size, size, device=device, requires_grad=True)
    seen = Cameras.orbit(VIEWS).to(device)[None].expand(objects, VIEWS)
    novel = Cameras.orbit(VIEWS, elevation=10.0, azimuth=20.0).to(device)[None].expand(objects, VIEWS)
    pixels = None if options.paper else torch.rand(objects, VIEWS, size * size // 4, 2, device=device)
    t = torch.full((objects,), 500.0, device=device)

    def step() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False):
            scene = field.fuse(features, seen, t)
            inputs, novels = scene.render(seen, (size, size)), scene.render(novel, (size, size), pixels)
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
    parser.add_argument("--size", type=int, default=32, help="of the latents")
    parser.add_argument("--paper", action="store_true", help="the paper's field, all pixels of the novel views")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    for part in options.samples.split(","):
        samples = [int(count) for count in part.split("+")]
        step = build_step(device, options, samples)
        pixels = options.size**2 * (2 if options.paper else 1.25)
        points = round(options.objects * VIEWS * pixels * sum(samples))
        row = {"points": points, "step_s": seconds(step, device, options.repeats)}
        row["us_per_point"] = 1e6 * row["step_s"] / points
        if device.type == "cuda":
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
            row["graph_s"] = seconds(captured(step).replay, device, options.repeats)
        print(json.dumps({"samples": part} | {name: round(value, 5) for name, value in row.items()}), flush=True)


if __name__ == "__main__":
    main()
