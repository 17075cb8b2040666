"""Memory of a sampling on cards of several sizes: ``python benchmarks/sampling_memory.py [--out FILE]``.

Models of the published sizes of Stable Diffusion 1.5 and XL with random weights, built on the device, without any
download, and with the paper's components around them. Eight views of one object are sampled with guidance for two
steps, fused, rendered and decoded: what takes most memory happens in every step or at the end. A card of so many GiB is
a cap on what this process may take (``torch.cuda.set_per_process_memory_fraction``), less what CUDA itself takes.
Prints JSON: for each card the first way of offloading that fits, in the order none, model, sequential.
"""

import argparse
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

sys.path.append(str(Path(__file__).parent.parent / "tunemv3d_modulation/tests"))
import full_size_pipeline as published
import tiny_pipelines as tiny

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import ModelSpec, RunSpec, SampleSpec, TrainSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.placement import Placement
from tunemv3d_core.ports import BuildContext, Neighbours
from tunemv3d_modulation.backbone import DiffusersBackbone
from tunemv3d_modulation.loading import Parts
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.spec import DiffusersSpec

XL_UNET = {
    **tiny.UNETS["sdxl"],
    "block_out_channels": (320, 640, 1280),
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
}
"""The published one of stable-diffusion-xl-base-1.0: 2,567,463,684 parameters."""

XL_SECOND = {
    **published.TEXT_ENCODER,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
SIZES = {"sd15": 512, "sdxl": 1024}
CARDS = (8, 12, 16, 24)
WAYS = ("none", "model", "sequential")
VIEWS, STEPS = 8, 2


def parts(kind: str, small: bool) -> Parts:
    """A pipeline's parts with random weights, in the default dtype and on the default device."""
    if small:
        made: Any = tiny.pipeline(kind)
        encoders = (made.text_encoder, *([made.text_encoder_2] if kind == "sdxl" else []))
        unet, vae = made.unet, made.vae
    else:
        encoders = (CLIPTextModel(CLIPTextConfig(**published.TEXT_ENCODER)),)
        if kind == "sdxl":
            encoders = (*encoders, CLIPTextModelWithProjection(CLIPTextConfig(**XL_SECOND)))
        unet = UNet2DConditionModel(**(XL_UNET if kind == "sdxl" else tiny.SD15_UNET))
        scale = {"scaling_factor": 0.13025, "force_upcast": True, "sample_size": 1024} if kind == "sdxl" else {}
        vae = AutoencoderKL(**{**published.VAE, **scale})
    words = tuple(tiny.tokenizer(16 if small else 77) for _ in encoders)
    schedule = {**tiny.SCHEDULE, "_class_name": "DDIMScheduler", "prediction_type": "epsilon"}
    of = "StableDiffusionXLPipeline" if kind == "sdxl" else "StableDiffusionPipeline"
    return Parts(kind, of, words, encoders, vae.eval(), unet.eval(), schedule, kind == "sdxl", {})


def model(kind: str, lifter: str, device: torch.device, dtype: torch.dtype, small: bool) -> MultiviewDiffusion:
    """The whole model around such parts, with the paper's components; small ones take a small field."""
    usual = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            read = parts(kind, small)
    finally:
        torch.set_default_dtype(usual)
    backbone = DiffusersBackbone(read).to(device, dtype)
    field = {"type": "neus", "aggregator": {"type": "mean-variance"}, **({"samples": 4, "hidden": 16} if small else {})}
    chosen = {"view_encoder": {"type": "resattn"}, "field": field, "lifter": {"type": lifter}}
    spec = ModelSpec.model_validate(
        {"backbone": {"type": "diffusers", "pretrained": kind}, **chosen, "injector": {"type": "zero-conv"}}
    )
    context = BuildContext(device, dtype, backbone)
    built: dict[str, Any] = {}
    neighbours = Neighbours(backbone=backbone.ports)
    for slot in ("view_encoder", "field", "lifter", "injector"):
        component: ComponentSpec = getattr(spec, slot)
        built[slot] = build_component(slot, component, neighbours, context).to(device)
        if slot != "injector":
            neighbours = Neighbours(
                backbone.ports, **{s: m.ports for s, m in built.items() if s in ("view_encoder", "field", "lifter")}
            )
    return MultiviewDiffusion(backbone, **built).requires_grad_(False).eval()


def sampled(made: MultiviewDiffusion, kind: str, size: int, place: Placement) -> dict[str, Any]:
    """Sample with a placement; return what it took, or that it did not fit."""
    spec = RunSpec(
        name=kind,
        model=ModelSpec(backbone=DiffusersSpec(type="diffusers", pretrained=kind)),
        data=ComponentSpec(type="none"),
        train=TrainSpec(steps=1),
        sample=SampleSpec(steps=STEPS, guidance=5.0, size=(size, size), scheduler="ddim"),
    )
    gpu = place.device.type == "cuda"
    began = time.perf_counter()
    try:
        place.apply(made)
        pipe = TuneMV3DPipeline.from_model(made, spec)
        pipe.set_progress_bar_config(disable=True)
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        output = pipe("a red chair", Cameras.orbit(VIEWS), output_type="pt")
        finite = bool(output.images.isfinite().all())
        del output
    except torch.OutOfMemoryError as error:
        return {"fits": False, "why": str(error).split(".")[0]}
    finally:
        if made.offload is not None:
            made.offload.remove()
        made.to("cpu")
        made.forget_background()
        gc.collect()
        if gpu:
            torch.cuda.empty_cache()
    told: dict[str, Any] = {"fits": True, "finite": finite, "seconds": round(time.perf_counter() - began, 1)}
    if gpu:
        told["peak_allocated_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        told["peak_reserved_gib"] = round(torch.cuda.max_memory_reserved() / 2**30, 2)
    return told


def capped(card: float) -> None:
    """Let this process take no more than a card of so many GiB would leave it; 0 lifts the cap."""
    free, total = torch.cuda.mem_get_info()
    taken_by_cuda = total - free - torch.cuda.memory_reserved()
    left = card * 2**30 - min(taken_by_cuda, 2**30) if card else total
    torch.cuda.set_per_process_memory_fraction(min(1.0, left / total))


def table(kind: str, options: argparse.Namespace, deadline: float) -> dict[str, Any]:
    """All cards of one model: first without a cap, then the first way that fits."""
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    gpu, size = device.type == "cuda", 32 if options.tiny else SIZES[kind]
    made = model(kind, options.lifter, device, dtype, options.tiny)
    report: dict[str, Any] = {
        "pixels": size,
        "parameters": sum(p.numel() for p in made.parameters()),
        "uncapped": {},
        "cards": {},
    }
    for way in WAYS:
        report["uncapped"][way] = sampled(made, kind, size, Placement(device, options.dtype, way))
        print(kind, "uncapped", way, report["uncapped"][way], file=sys.stderr)
    for card in CARDS if gpu else ():
        capped(card)
        report["cards"][card] = tried = {}
        for way in WAYS:
            if time.perf_counter() > deadline:
                tried[way] = {"fits": None, "why": "no time was left"}
                break
            tried[way] = sampled(made, kind, size, Placement(device, options.dtype, way))
            print(kind, f"{card} GiB", way, tried[way], file=sys.stderr)
            if tried[way]["fits"]:
                break
        capped(0)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=list(SIZES), metavar="MODEL", help="sd15, sdxl")
    parser.add_argument("--dtype", default="float16", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--lifter", default="copied-encoder", help="or lora-encoder")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models, to try the script on a CPU")
    parser.add_argument("--seconds", type=float, default=420, help="no further card is tried after so long")
    parser.add_argument("--out", type=Path, help="a file for the JSON, else it is printed")
    options = parser.parse_args()
    deadline = time.perf_counter() + options.seconds
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name() if options.device.startswith("cuda") else options.device,
        "versions": {"torch": torch.__version__},
        "dtype": options.dtype,
        "lifter": options.lifter,
        "views": VIEWS,
        "models": {kind: table(kind, options, deadline) for kind in options.models},
    }
    text = json.dumps(report, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
