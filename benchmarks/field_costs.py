"""What each installed field costs in a training step, in the same setting: 8 views whole, 8 novel ones at a quarter of
their pixels, 16 features, one thread of a CPU or a GPU.

Run it as ``python benchmarks/field_costs.py [--device cuda] [--objects 1] [--specs chairs-mini,density-mini,...]
[--set model.field.samples=40]``; each spec's field is measured.

Times are those of ``benchmarks/field.py``: processor time on a CPU; on a GPU wall time, eager and from a CUDA graph.
``fuse`` is what a field makes of the views once (forward, without gradients), ``per_ray_us`` what a further rendered
ray of each object costs then (forward, without gradients).
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from field import FEATURES, NOVEL_PIXELS, SIZE, VIEWS, captured, seconds
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.ports import BackbonePorts, BuildContext, Neighbours, ViewEncoderPorts

SPECS = "chairs-mini,density-mini,triplane-mini,volume-mini"


class Scene:
    """A field with inputs of the benchmark's sizes."""

    def __init__(self, field: Any, device: torch.device, objects: int) -> None:
        self.field, self.device = field, device
        self.features = torch.randn(objects, VIEWS, FEATURES, SIZE, SIZE, device=device, requires_grad=True)
        self.seen = Cameras.orbit(VIEWS).to(device)[None].expand(objects, VIEWS)
        self.novel = Cameras.orbit(VIEWS, elevation=10.0, azimuth=20.0).to(device)[None].expand(objects, VIEWS)
        self.pixels = torch.rand(objects, VIEWS, NOVEL_PIXELS, 2, device=device)
        self.t = torch.full((objects,), 500.0, device=device)

    def fuse(self) -> Any:
        """What the field makes of the views."""
        return self.field.fuse(self.features, self.seen, self.t)

    def train(self) -> Tensor:
        """A training step, backward included."""
        with torch.autocast(self.device.type, torch.bfloat16, self.device.type == "cuda", cache_enabled=False):
            scene = self.fuse()
            inputs, novels = scene.render(self.seen, (SIZE, SIZE)), scene.render(self.novel, (SIZE, SIZE), self.pixels)
            loss = inputs.values.square().mean() + novels.values.mean() + inputs.opacity.mean()
        loss.backward()
        return loss


def without_gradients(run: Callable[[], Any]) -> Callable[[], Any]:
    def quietly() -> Any:
        with torch.no_grad():
            return run()

    return quietly


def measure(name: str, sets: list[str], device: torch.device, objects: int, repeats: int) -> dict[str, float]:
    spec = load_spec(name, sets).model.field
    assert spec is not None
    torch.manual_seed(0)
    neighbours = Neighbours(BackbonePorts(4, SIZE, 8, 64, (), "epsilon", 1000), ViewEncoderPorts(FEATURES))
    field = build_component("field", spec, neighbours, BuildContext(device)).train()
    scene = Scene(field, device, objects)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    row = {"parameters": sum(p.numel() for p in field.parameters()), "step_s": seconds(scene.train, device, repeats)}
    if device.type == "cuda":
        row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        row["graph_s"] = seconds(captured(scene.train).replay, device, repeats)
    row["fuse_s"] = seconds(without_gradients(scene.fuse), device, repeats)
    made = without_gradients(scene.fuse)()
    render = without_gradients(lambda: made.render(scene.seen, (SIZE, SIZE)))
    spent = seconds(render, device, repeats)
    return row | {"per_ray_us": 1e6 * spent / (objects * VIEWS * SIZE * SIZE)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--objects", type=int, default=1)
    parser.add_argument("--specs", default=SPECS)
    parser.add_argument("--set", action="append", default=[], help="changes every spec, as tunemv3d-train --set")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.specs.split(","):
        row = measure(name, options.set, torch.device(options.device), options.objects, options.repeats)
        print(json.dumps({"spec": name} | {key: round(value, 5) for key, value in row.items()}), flush=True)


if __name__ == "__main__":
    main()
