"""The field's network alone at the paper's size: fused kernels beside plain layers, forward and with the backward pass.

    python benchmarks/resnetfc.py [--size 64] [--samples 64] [--outside 0] [--chunk 2097152]

4 objects x 16 views of size x size cells, bf16 autocast, random weights and features; the plain layers run in chunks
of points that are recomputed. Prints JSON: median milliseconds, peak memory, and errors against float64.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tunemv3d_neus.fused_network import fused_query

sys.path.append(str(Path(__file__).parents[1] / "tunemv3d_neus" / "tests"))

OBJECTS, VIEWS, REPEATS = 4, 16, 5
PAPER = {"features": 32, "values": 4, "hidden": 128, "blocks": 5, "latent_blocks": 3}


def measured(run: Callable[[], object]) -> dict[str, float]:
    """Median milliseconds of a call after one that is not counted, and GiB beyond what was there."""
    run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, times = torch.cuda.memory_allocated(), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    peak = (torch.cuda.max_memory_allocated() - before) / 2**30
    return {"ms": round(statistics.median(times), 1), "peak_gib": round(peak, 2)}


def main() -> None:
    from neus_float64 import errors, plain_query, random_network

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=2**21, help="points at once of the plain layers")
    parser.add_argument("--outside", type=float, default=0.0, help="share of rays, the last ones, that miss the sphere")
    options = parser.parse_args()
    torch.manual_seed(0)
    rays = VIEWS * options.size**2
    network = random_network(**PAPER).to("cuda")
    directions = torch.nn.functional.normalize(torch.randn(OBJECTS, rays, 3, device="cuda"), dim=-1)
    points = directions.repeat_interleave(options.samples, 1) * torch.rand(
        OBJECTS, rays * options.samples, 1, device="cuda"
    )
    points[:, points.shape[1] - round(options.outside * rays) * options.samples :] = 2.0
    aggregated = torch.randn(*points.shape[:2], network.latent.in_features, device="cuda", requires_grad=True)
    time_embedding = network.embed(torch.full((OBJECTS,), 500.0, device="cuda")).detach()

    def fused() -> tuple[Tensor, Tensor]:
        return fused_query(network, points, directions, aggregated, time_embedding, radius=1.0)

    def plain() -> tuple[Tensor, Tensor]:
        some = max(1, options.chunk // OBJECTS // options.samples)
        parts = []
        for start in range(0, rays, some):
            here = slice(start * options.samples, (start + some) * options.samples)
            inputs = points[:, here], directions[:, start : start + some], aggregated[:, here], time_embedding
            parts.append(checkpoint(plain_query, network, *inputs, use_reentrant=False))
        sdf, values = zip(*parts, strict=True)
        return torch.cat(sdf, 1), torch.cat(values, 1)

    def both(query: Callable[[], tuple[Tensor, Tensor]]) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            sdf, values = query()
        (sdf.mean() + values.square().mean()).backward()
        aggregated.grad = None
        network.zero_grad()

    def forward(query: Callable[[], tuple[Tensor, Tensor]]) -> None:
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            query()

    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    report |= {
        "points": points.shape[0] * points.shape[1],
        "size": options.size,
        "samples": options.samples,
        "outside": options.outside,
    }
    figures = {
        name: {"forward": measured(lambda: forward(query)), "both": measured(lambda: both(query))}  # noqa: B023
        for name, query in (("fused", fused), ("plain", plain))
    }
    of = {
        name: errors("cuda", torch.bfloat16, rays=2000, samples=24, fused=name == "fused", **PAPER) for name in figures
    }
    print(json.dumps({**report, **figures, "errors": of}))


if __name__ == "__main__":
    main()
