"""A training step of the paper's spec beside what a user would run instead: diffusers' ControlNet on as many images.

    python benchmarks/step_ratio.py WORK --size 32 --json step-ratio.json [--only eager,graph] [--set ...]

One process, one GPU, random weights of Stable Diffusion 1.5, bf16 autocast, fused AdamW, gradients clipped; the
packaged chairs enlarged to 8 times the latents' size. The product runs its whole step by its trainer, drawing of
batches included: ``eager``; ``graph``, captured as a CUDA graph; ``compiled``, with ``train.compile=regions``;
``compiled-graph``. The yardstick runs on tensors that lie on the GPU: ``controlnet`` and ``controlnet-compiled``. Rows
are appended to the JSON: median, least and largest milliseconds of a step, peak memory, seconds until the first
measured step.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from scaling import prepare

from tunemv3d_core.config.loading import load_spec
from tunemv3d_train.trainer import opened

WARMUP, STEPS = 14, 15
EAGER, GRAPH, REGIONS = "train.cuda_graph=false", "train.cuda_graph=true", "train.compile=regions"
OURS = {"eager": [EAGER], "graph": [GRAPH], "compiled": [EAGER, REGIONS], "compiled-graph": [GRAPH, REGIONS]}
YARDSTICKS = {"controlnet": False, "controlnet-compiled": True}
OBJECTS = 12
"""Objects of the data set: batches are drawn from them, and their latents are encoded before."""


def measured(step: Callable[[int], object]) -> dict[str, float]:
    """Milliseconds of steps after others, each waited for, and the peak memory of all."""
    # From here on, because a CUDA graph takes its memory when it is captured.
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    for number in range(WARMUP):
        step(number)
    torch.cuda.synchronize()
    figures = {"before_s": round(time.perf_counter() - started, 1)}
    times = []
    for number in range(WARMUP, WARMUP + STEPS):
        start = time.perf_counter()
        step(number)
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    spread = {"median_ms": statistics.median(times), "least_ms": min(times), "largest_ms": max(times)}
    figures |= {name: round(value, 1) for name, value in spread.items()}
    return figures | {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def product(options: argparse.Namespace, overrides: list[str]) -> dict[str, float]:
    """Measure the trainer's step."""
    pixels = 8 * options.size
    fixed = [
        f"model.backbone.pretrained={options.work / 'sd15-random'}",
        f"data.path={options.work / f'chairs-{pixels}'}",
    ]
    fixed += ["train.steps=1000000", f"sample.size=[{pixels}, {pixels}]", 'train.preview_prompts=["a red chair"]']
    spec = load_spec(options.spec, [*fixed, *overrides, *options.set])
    with TemporaryDirectory() as out, opened(spec, Path(out)) as trainer:
        return measured(trainer.step)


def controlnet(options: argparse.Namespace, compiled: bool) -> dict[str, float]:
    """Measure a step of diffusers' ControlNet as its training script does it, on 4 x 8 images."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(options.work / "sd15-random" / "unet", torch_dtype=torch.bfloat16)
    unet = unet.to("cuda").requires_grad_(False)
    net = ControlNetModel.from_unet(unet).to("cuda", torch.float32).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5, fused=True)
    if compiled:
        unet.compile()
        net.compile()
    images, size = 32, options.size
    x, noise = (torch.randn(images, 4, size, size, device="cuda") for _ in range(2))
    condition = torch.rand(images, 3, 8 * size, 8 * size, device="cuda")
    text = torch.randn(images, 77, 768, device="cuda", dtype=torch.bfloat16)

    def step(number: int) -> None:
        t = torch.randint(1000, (images,), device="cuda")
        with torch.autocast("cuda", torch.bfloat16):
            down, middle = net(x, t, text, condition, return_dict=False)
            predicted = unet(
                x, t, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
            ).sample
            loss = torch.nn.functional.mse_loss(predicted.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return measured(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--spec", default="paper-shapenet-chair")
    parser.add_argument("--size", type=int, default=32, help="of the latents")
    parser.add_argument("--only", default=",".join([*OURS, *YARDSTICKS]))
    parser.add_argument("--set", action="append", default=[], help="override, such as model.field.samples=32")
    parser.add_argument("--json", type=Path, default=Path("step-ratio.json"))
    options = parser.parse_args()
    prepare(options.work, options.size, OBJECTS)
    device = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "date": time.strftime("%Y-%m-%d")}
    for name in options.only.split(","):
        row: dict[str, Any] = {
            **device,
            "what": name,
            "latents": options.size,
            "spec": options.spec,
            "set": options.set,
        }
        try:
            row |= product(options, OURS[name]) if name in OURS else controlnet(options, YARDSTICKS[name])
        except torch.OutOfMemoryError as error:
            row |= {"error": str(error).partition(". ")[0]}
        print(json.dumps(row), flush=True)
        rows = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else []
        options.json.write_text(json.dumps([*rows, row], indent=1) + "\n", encoding="utf-8")
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
