"""Training of the prior: tokenizer, autoencoder, latents, text encoder with UNet, figures, card.

A started training continues from ``OUT/state``. ``OUT/sd-mini`` is complete and usable from the second stage's first
checkpoint on.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from sd_mini.card import model_card
from sd_mini.data import Views, load_views
from sd_mini.evaluate import STEPS, evaluate_prior, evaluate_vae
from sd_mini.export import folder_size, load_weights, write_pipeline
from sd_mini.models import SIZES, Size, TextToImage, make_text_encoder, make_unet, make_vae, round_to_half
from sd_mini.prior import noise_loss
from sd_mini.tokenizer import tokenize, train_tokenizer
from sd_mini.trainer import Plan, Record, Trainer
from sd_mini.vae import centre, reconstruction_loss
from tunemv3d_core.io.caption_words import write_caption_words
from tunemv3d_core.io.json_files import write_json

AFTERWARDS = 35.0
"""Seconds of a budget kept for latents, figures and pictures."""
VAE_SHARE = 0.38
"""The autoencoder's part of the time for training."""


@dataclass(frozen=True)
class Job:
    """One start of the recipe."""

    out: Path
    size: Size
    device: torch.device
    capture: bool
    deadline: float | None

    @property
    def state(self) -> Path:
        """File that a later start continues from."""
        return self.out / "state"

    def left(self) -> float | None:
        """Return the seconds left for training; None if no budget is given."""
        return None if self.deadline is None else max(1.0, self.deadline - AFTERWARDS - time.monotonic())


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe with command-line arguments."""
    options = _options(arguments)
    device = torch.device(options.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    deadline = None if options.budget is None else time.monotonic() + options.budget
    job = Job(options.out, SIZES[options.size], device, not options.eager, deadline)
    job.state.mkdir(parents=True, exist_ok=True)
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    _say(f"reading {', '.join(str(folder) for folder in options.data)}")
    train, held = (views.to(device) for views in load_views(options.data))
    _say(f"{len(train.names)} training pictures, {len(held.names)} held out, {len(train.captions)} captions")
    tokenizer = _tokenizer(job, train)
    vae, vae_record = _autoencoder(job, train)
    _say("latents")
    latents = centre(vae, train.images)
    round_to_half(vae)
    model, prior_record = _prior(job, train, latents, tokenizer, vae)
    stages = {
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU",
        "parameters": {"autoencoder": _count(vae), "UNet": _count(model.unet), "text": _count(model.text_encoder)},
        "autoencoder": {**asdict(vae_record), "batch": job.size.vae_batch},
        "prior": {**asdict(prior_record), "batch": job.size.unet_batch},
    }
    _finish(job, train, held, stages)
    return 0


def _tokenizer(job: Job, train: Views) -> CLIPTokenizer:
    folder = job.state / "tokenizer"
    if not folder.exists():
        tokenizer = train_tokenizer(train.captions, job.size.vocabulary, job.size.length)
        tokenizer.save_pretrained(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    _say(f"tokenizer: {len(tokenizer)} tokens")
    return tokenizer


def _autoencoder(job: Job, train: Views) -> tuple[AutoencoderKL, Record]:
    """The trained autoencoder with averaged weights rounded to float16, as float32."""
    done, path = job.state / "vae", job.state / "vae.pt"
    if not (done / "record.json").exists():
        vae = make_vae(job.size).to(job.device, memory_format=torch.channels_last)
        left = job.left()
        seconds = None if left is None else left * VAE_SHARE
        plan = Plan(job.size.vae_steps, seconds, lr=8e-4, warmup=job.size.warmup)
        trainer = _trainer(job, vae, reconstruction_loss(vae, train, job.size.vae_batch), plan, path)
        _say(f"autoencoder: {_count(vae) / 1e6:.2f} M parameters, from step {trainer.record.steps}")
        trainer.run(lambda: trainer.save(path), _say)
        vae.float()
        load_weights(vae, trainer.averaged())
        vae.save_pretrained(done)
        write_json(done / "record.json", asdict(trainer.record))
        del trainer
        _free(job.device)
    vae = AutoencoderKL.from_pretrained(done).to(job.device, memory_format=torch.channels_last)
    round_to_half(vae)
    vae.requires_grad_(False)
    return vae, Record(**json.loads((done / "record.json").read_text(encoding="utf-8")))


def _prior(
    job: Job, train: Views, latents: Tensor, tokenizer: CLIPTokenizer, vae: AutoencoderKL
) -> tuple[TextToImage, Record]:
    """Text encoder and UNet with averaged weights; the pipeline's folder is written with every checkpoint."""
    path = job.state / "prior.pt"
    texts = torch.tensor(tokenize(tokenizer, train.captions), device=job.device)
    empty = torch.tensor(tokenize(tokenizer, [""])[0], device=job.device)
    model = TextToImage(make_text_encoder(job.size, tokenizer), make_unet(job.size))
    model.to(job.device, memory_format=torch.channels_last)
    averaged = TextToImage(make_text_encoder(job.size, tokenizer), make_unet(job.size)).to(job.device)
    plan = Plan(job.size.unet_steps, job.left(), lr=5e-4, warmup=job.size.warmup)
    loss = noise_loss(model, train, latents, texts, empty, job.size.unet_batch)
    trainer = _trainer(job, model, loss, plan, path)
    _say(f"prior: {_count(model) / 1e6:.2f} M parameters, from step {trainer.record.steps}")

    def save() -> None:
        load_weights(averaged, trainer.averaged())
        write_pipeline(job.out / "sd-mini", tokenizer, vae, averaged)
        trainer.save(path)

    record = trainer.run(save, _say)
    save()
    return averaged, record


def _trainer(job: Job, module: nn.Module, loss: Any, plan: Plan, path: Path) -> Trainer:
    trainer = Trainer(module, loss, plan, job.capture)
    if path.exists():
        trainer.restore(path)
    return trainer


def _finish(job: Job, train: Views, held: Views, stages: dict[str, Any]) -> None:
    """Measure the folder as it is stored, and write the card."""
    folder, report = job.out / "sd-mini", job.out / "report"
    report.mkdir(exist_ok=True)
    _free(job.device)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(job.device)
    pipeline.set_progress_bar_config(disable=True)
    _say("figures of the autoencoder")
    figures: dict[str, Any] = {"autoencoder": evaluate_vae(pipeline, held, report)}
    _say(json.dumps(figures["autoencoder"]))
    write_json(report / "figures.json", {**stages, **{"figures": figures}})
    _say("figures of the prior")
    figures["prior"] = evaluate_prior(pipeline, report, STEPS if job.size.image > 32 else 3)
    _say(json.dumps(figures["prior"]))
    for place in (report, folder):
        write_json(place / "figures.json", {**stages, **{"figures": figures}})
    with Image.open(report / "prompts.png") as grid:
        grid.save(folder / "prompts.webp", quality=33, method=6)
    write_caption_words(
        folder, train.words, f"Training objects per word, of the {len(train.captions)} captions of sd_mini"
    )
    card = model_card(job.size.image, train, held, stages, figures)
    (folder / "README.md").write_text(card, encoding="utf-8")
    _say(f"done: {folder}, {folder_size(folder) / 1e6:.1f} MB; figures and pictures: {report}")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sd_mini", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="dataset folders, drawn from equally often")
    parser.add_argument("--out", type=Path, required=True, help="folder for the result, the report and the state")
    parser.add_argument("--budget", type=float, help="seconds for everything; without it the size's steps are trained")
    parser.add_argument("--size", choices=sorted(SIZES), default="mini", help="tiny tries the recipe out")
    parser.add_argument("--device", help="cuda, cpu ...; default: the GPU where there is one")
    parser.add_argument("--eager", action="store_true", help="no CUDA graph")
    return parser.parse_args(arguments)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)
