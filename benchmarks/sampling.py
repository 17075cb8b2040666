"""A sampling beside what a user would run instead: diffusers' ControlNet pipeline on as many images.

    python benchmarks/sampling.py [--only graph,controlnet] [--dtype float16] [--json FILE]

One process, one GPU, random weights of Stable Diffusion 1.5's sizes with the paper's components: 8 views of 256 x 256,
50 steps of DDIM, guidance 7.5. ``eager``, ``graph`` (its steps replayed as a CUDA graph) and both at K = 1.5;
``controlnet``: as many images of one prompt. Each is run once before it is timed; rows are appended to the JSON: the
median seconds of a call that gives latents (ours fuses and renders the scene there too) and of one that gives
pictures, and peak memory.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, DDIMScheduler, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from PIL import Image
from sampling_memory import model, parts

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import ModelSpec, RunSpec, SampleSpec, TrainSpec
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.spec import DiffusersSpec

VIEWS, GUIDANCE, PROMPT = 8, 7.5, "a red chair"
OURS = {"eager": (False, 1.0), "graph": (True, 1.0), "eager-k1.5": (False, 1.5), "graph-k1.5": (True, 1.5)}


def timed(sample: Callable[[str], Any], times: int) -> dict[str, Any]:
    """Seconds of a call that gives latents, and of one that gives pictures; after one that warms up."""
    sample("pil")
    torch.cuda.reset_peak_memory_stats()
    figures: dict[str, Any] = {}
    for name, kind in {"denoising_s": "latent", "whole_s": "pil"}.items():
        taken = []
        for _ in range(times):
            torch.cuda.synchronize()
            began = time.perf_counter()
            sample(kind)
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - began)
        figures[name] = round(statistics.median(taken), 3)
        figures[f"{name.removesuffix('_s')}_spread"] = [round(min(taken), 3), round(max(taken), 3)]
    return figures | {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)}


def product(options: argparse.Namespace, dtype: torch.dtype, names: list[str]) -> dict[str, dict[str, Any]]:
    """Time the pipeline in the ways that are asked for."""
    made = model("sd15", "copied-encoder", torch.device("cuda"), dtype, small=options.tiny)
    pixels = (options.pixels, options.pixels)
    spec = RunSpec(
        name="sampling",
        model=ModelSpec(backbone=DiffusersSpec(type="diffusers", pretrained="sd15")),
        data=ComponentSpec(type="none"),
        train=TrainSpec(steps=1),
        sample=SampleSpec(steps=options.steps, guidance=GUIDANCE, size=pixels, scheduler="ddim"),
    )
    pipe = TuneMV3DPipeline.from_model(made, spec)
    pipe.set_progress_bar_config(disable=True)
    cameras = Cameras.orbit(VIEWS)
    rows = {}
    for name in names:
        made.cuda_graph, consistency = OURS[name]

        def sample(kind: str, consistency: float = consistency) -> Any:
            return pipe(PROMPT, cameras, consistency=consistency, output_type=kind)

        rows[name] = timed(sample, options.times)
    return rows


def controlnet(options: argparse.Namespace, dtype: torch.dtype) -> dict[str, Any]:
    """Time diffusers' pipeline."""
    torch.manual_seed(0)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda"):
            read = parts("sd15", options.tiny)
            net = ControlNetModel.from_unet(read.unet).to("cuda", dtype)
    finally:
        torch.set_default_dtype(usual)
    plain = StableDiffusionPipeline(
        vae=read.vae,
        text_encoder=read.text_encoders[0],
        tokenizer=read.tokenizers[0],
        unet=read.unet,
        scheduler=DDIMScheduler.from_config(read.scheduler),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe = StableDiffusionControlNetPipeline(**plain.components, controlnet=net, requires_safety_checker=False)
    pipe = pipe.to("cuda", dtype)
    pipe.set_progress_bar_config(disable=True)
    picture = Image.new("RGB", (options.pixels, options.pixels), "white")
    given = {"num_inference_steps": options.steps, "guidance_scale": GUIDANCE, "num_images_per_prompt": VIEWS}
    given |= {"height": options.pixels, "width": options.pixels}
    return timed(lambda kind: pipe(PROMPT, picture, output_type=kind, **given), options.times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join([*OURS, "controlnet"]))
    parser.add_argument("--dtype", default="float16,bfloat16")
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--times", type=int, default=3, help="that each is timed")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the script")
    parser.add_argument("--json", type=Path, default=Path("sampling.json"))
    options = parser.parse_args()
    asked = options.only.split(",")
    about = {"date": time.strftime("%Y-%m-%d"), "device": torch.cuda.get_device_name(), "torch": torch.__version__}
    about |= {"views": VIEWS, "pixels": options.pixels, "steps": options.steps, "guidance": GUIDANCE}
    for dtype in options.dtype.split(","):
        measured = product(options, getattr(torch, dtype), [name for name in asked if name in OURS])
        gc.collect()
        torch.cuda.empty_cache()
        if "controlnet" in asked:
            measured["controlnet"] = controlnet(options, getattr(torch, dtype))
        rows = [{**about, "dtype": dtype, "what": name, **row} for name, row in measured.items()]
        print(json.dumps(rows), flush=True)
        earlier = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else []
        options.json.write_text(json.dumps([*earlier, *rows], indent=1) + "\n", encoding="utf-8")
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
