"""The reference's splatting against gsplat's, on a GPU: ``python benchmarks/splatting.py [--json FILE]``.

8 views of 32 x 32 latents give 8,192 Gaussians of four values (a real field, random weights), splatted into 8 maps.
Milliseconds are the median of 20 calls after 3 that are not counted; memory is the peak beyond what was there before.
"""

import argparse
import datetime
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.ports import FieldPorts
from tunemv3d_core.types import Rendering
from tunemv3d_gaussians.field import GaussiansField
from tunemv3d_gaussians.spec import GaussiansSpec

SIZES = (32, 128, 256)


def measured(run: Callable[[], object]) -> dict[str, float]:
    """Milliseconds and MiB of a call."""
    times = []
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    for _ in range(20):
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    return {"ms": round(statistics.median(times) * 1e3, 2), "peak_mib": round(peak)}


def field(gsplat: bool) -> GaussiansField:
    """The same field with or without gsplat, awake."""
    torch.manual_seed(0)
    spec = GaussiansSpec(type="gaussians", gsplat=gsplat)
    aggregator = build_component("aggregator", spec.aggregator, 16)
    made = GaussiansField(spec, FieldPorts(16, "latents", 4), aggregator).cuda().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return made


def main() -> None:
    """Run with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.manual_seed(1)
    features, cameras = torch.randn(1, 8, 16, 32, 32, device="cuda"), Cameras.orbit(8)[None].to("cuda")
    fields, rows = {"reference": field(False), "gsplat": field(True)}, []
    for size in SIZES:
        shown: dict[str, Tensor] = {}
        row: dict[str, object] = {"size": size}
        for name, own in fields.items():
            scene = own.fuse(features, cameras, torch.full((1,), 0.5, device="cuda"))

            def forward(scene=scene, size=size) -> Rendering:  # type: ignore[no-untyped-def]
                with torch.no_grad():
                    return scene.render(cameras, (size, size))

            def both(own=own, size=size) -> None:  # type: ignore[no-untyped-def]
                again = own.fuse(features, cameras, torch.full((1,), 0.5, device="cuda"))
                again.render(cameras, (size, size)).values.square().sum().backward()

            seen = forward()
            shown[name] = torch.cat([seen.values, seen.opacity[:, :, None]], dim=2)
            row[name] = {"render": measured(forward)} | (
                {} if size == 256 else {"fuse, render, backward": measured(both)}
            )
        away = (shown["reference"] - shown["gsplat"]).abs()
        row["differ"] = {"mean": float(away.mean()), "most": float(away.max())}
        rows.append(row)
        print(json.dumps(row), flush=True)
    report = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
