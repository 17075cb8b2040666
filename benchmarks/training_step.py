"""What the parts of a training step of a spec cost: ``python benchmarks/training_step.py [SPEC] [--device cuda]``.

Prints JSON: seconds of wall time, the mean of four calls after one that is not counted, on random latents; on a GPU
also the memory that each part needs at its peak beyond what was there before it.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_train.step import TrainingStep

REPEATS = 4


def measured(run: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Seconds of a call, and on a GPU the GiB that it needs at its peak."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    run()
    wait()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    for _ in range(REPEATS):
        run()
    wait()
    figures = {"seconds": round((time.perf_counter() - start) / REPEATS, 4)}
    if device.type == "cuda":
        figures["peak_gib"] = round((torch.cuda.max_memory_allocated() - before) / 2**30, 2)
    return figures


def random_batch(model: MultiviewDiffusion, spec: RunSpec, size: int, device: torch.device) -> dict[str, Any]:
    """The arguments of ``TrainingStep.forward``."""
    b, n, m = spec.train.batch, spec.views.inputs, spec.views.novel
    latents = torch.randn(b, n + m, model.backbone.ports.latent_channels, size, size, device=device)
    cameras = Cameras.orbit(n + m).to(device)[None].expand(b, n + m)
    text = model.backbone.encode_text(["a red chair"] * b)
    cells = max(1, round(spec.views.novel_pixels * size * size))
    batch = {
        "latents": latents,
        "alpha": torch.rand(b, n + m, size, size, device=device),
        "noise": torch.randn_like(latents[:, :n]),
        "t": torch.full((b, n), 500.0, device=device),
        "is_clean": torch.zeros(b, n, dtype=torch.bool, device=device),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        "tokens": text.tokens,
        "pooled": text.pooled,
    }
    if spec.views.novel_pixels < 1:
        batch["novel_pixels"] = torch.rand(b, m, size * size, device=device).argsort(-1)[..., :cells]
    return batch


def parts(model: MultiviewDiffusion, spec: RunSpec, size: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Each part alone, forward and backward, then the whole step without its optimizer."""
    batch = random_batch(model, spec, size, device)
    step = TrainingStep(model, spec.views.inputs, spec.loss).train()
    n, m = spec.views.inputs, spec.views.novel
    views, t = batch["latents"][:, :n], batch["t"]
    text = model.backbone.encode_text(["a red chair"] * spec.train.batch)
    cameras = Cameras(batch["poses"], batch["intrinsics"])
    half = spec.train.precision == "bf16"

    def cast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=half)

    foreground_x0 = views if model.view_encoder.ports.foreground_x0 else None
    with torch.no_grad(), cast():
        features = model.view_encoder(views, t, text, cameras[:, :n], foreground_x0)
        skips = model.backbone.encode(views, t, text)
    pixels = None
    if spec.views.novel_pixels < 1:
        cells = max(1, round(spec.views.novel_pixels * size * size))
        pixels = torch.rand(spec.train.batch, m, cells, 2, device=device)

    def frozen() -> None:
        with torch.no_grad(), cast():
            model.frozen(views, t, text)

    def view_encoder() -> None:
        with cast():
            loss = model.view_encoder(views, t, text, cameras[:, :n], foreground_x0).float().sum()
        loss.backward()

    def field() -> None:
        with cast():
            scene = model.field.fuse(features.detach().requires_grad_(), cameras[:, :n], t.amax(1))
            seen = scene.render(cameras[:, :n], (size, size)), scene.render(cameras[:, n:], (size, size), pixels)
        sum(r.values.square().mean() + r.opacity.mean() for r in seen).backward()

    def lifter() -> None:
        with cast():
            loss = sum(z.float().sum() for z in model.lifter(views, views, t, text))
        loss.backward()

    def decoder() -> None:
        with cast():
            residuals = tuple(torch.zeros_like(z, requires_grad=True) for z in skips.maps)
            loss = model.backbone.decode(skips, residuals, t, text).float().sum()
        loss.backward()

    def whole() -> None:
        with cast():
            loss = step(**batch)[0]
        loss.backward()
        model.zero_grad(set_to_none=True)

    runs = {"frozen_forward": frozen, "view_encoder": view_encoder, "field": field, "lifter": lifter}
    runs |= {"frozen_decoder": decoder, "step": whole}
    told = {}
    for name, run in runs.items():
        told[name] = measured(run, device)
        model.zero_grad(set_to_none=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="chairs-mini")
    parser.add_argument("--set", action="append", default=[], help="override, such as model.field.samples=24")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, help="of the latents; default: what the backbone was made for")
    options = parser.parse_args()
    torch.manual_seed(0)
    device, spec = torch.device(options.device), load_spec(options.spec, options.set)
    model = assemble(spec.model, device).train()
    size = options.size or model.backbone.ports.latent_size
    report = {
        "spec": options.spec,
        "set": options.set,
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "latents": [size, size],
        "parameters": {slot: sum(p.numel() for p in part.parameters()) for slot, part in model.slots().items()},
        "parts": parts(model, spec, size, device),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
