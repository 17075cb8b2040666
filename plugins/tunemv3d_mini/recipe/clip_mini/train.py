"""Training of clip-mini: texts, tokenizer, the network, figures, card.

A started training continues from ``OUT/state``. ``OUT/clip-mini`` is complete and usable from the first checkpoint on.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from sd_mini.tokenizer import train_tokenizer
from sd_mini.trainer import Plan, Trainer
from torch import Tensor, nn
from transformers import CLIPModel, CLIPTokenizer

from clip_mini.card import model_card
from clip_mini.losses import augment, contrast
from clip_mini.measure import measure, picture_vectors, text_vectors, tokenize
from clip_mini.model import SIZES, Size, make_clip, round_to_half, write_clip
from clip_mini.pack import Rendered, read_pack
from clip_mini.paint import painted_legs
from clip_mini.texts import Attributes, full_text, vary

TEXTS = 24
"""Different texts of every object."""
CHAIRS = 0.6
"""Share of the draws from the chairs, which most prompts are about."""


class Pairs(nn.Module):
    """The network in training: its forward pass takes pictures and tokens, and gives unit vectors and the scale."""

    def __init__(self, clip: CLIPModel) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pictures: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode ``n 3 H W`` in [0, 1] and ``n length``."""
        scale = self.clip.logit_scale.float().exp().clamp(max=100)
        return picture_vectors(self.clip, pictures), text_vectors(self.clip, tokens), scale


def train(data: Path, out: Path, size_name: str, budget: float | None, device_name: str | None) -> None:
    """Train on ``data``, the file of ``pack``; write ``out``/clip-mini with its card, and the figures."""
    size = SIZES[size_name]
    device = torch.device(device_name or ("cuda" if torch.cuda.is_available() else "cpu"))
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    objects, pictures = read_pack(data)
    if pictures.shape[-1] != size.image:
        pictures = pictures[..., :: pictures.shape[-1] // size.image, :: pictures.shape[-1] // size.image]
    places = [k for k, each in enumerate(objects) if each.world != "held_out"]
    training, shown = [objects[k] for k in places], pictures[places]
    painted, further = painted_legs(training, shown)
    training, shown = training + painted, torch.cat([shown, further])
    _say(f"{len(training)} training objects, {len(painted)} of them with painted legs, {pictures.shape[1]} views each")
    texts = [
        [vary(each.attributes, random.Random(f"{each.id} {n} {k}")) for k in range(TEXTS)]
        for n, each in enumerate(training)
    ]
    words = [text for row in texts for text, _ in row]
    tokenizer = train_tokenizer(words, size.vocabulary, size.length)
    _say(f"{len(set(words))} texts, {len(tokenizer)} tokens")

    pairs = Pairs(make_clip(size, tokenizer)).to(device)
    loss = _loss(pairs, training, shown.to(device), texts, tokenize(tokenizer, words).to(device), size)
    plan = Plan(size.steps, budget, lr=1e-3, warmup=size.warmup, decay=0.05)
    trainer = Trainer(pairs, loss, plan, capture=False)
    state = out / "state.pt"
    if state.exists():
        trainer.restore(state)
    averaged = Pairs(make_clip(size, tokenizer))
    _say(f"{sum(p.numel() for p in pairs.parameters()) / 1e6:.2f} M parameters, from step {trainer.record.steps}")

    def save() -> None:
        averaged.load_state_dict({name: value.cpu() for name, value in trainer.averaged().items()}, strict=False)
        write_clip(out / "clip-mini", averaged.clip, tokenizer)
        trainer.save(state)

    record = trainer.run(save, _say)
    save()
    held = [k for k, each in enumerate(objects) if each.world == "held_out"]
    run = {"objects": len(places), "painted": len(painted), "batch": size.batch, **asdict(record)}
    _finish(out, _Set([objects[k] for k in held], pictures[held]), training, run, device)


@dataclass(frozen=True)
class _Set:
    """Objects and their pictures, ``objects views 3 H W`` uint8."""

    objects: list[Rendered]
    pictures: Tensor


def _loss(
    pairs: Pairs,
    objects: list[Rendered],
    pictures: Tensor,
    texts: list[list[tuple[str, Attributes]]],
    tokens: Tensor,
    size: Size,
) -> Callable[[], Tensor]:
    """Return the loss of a fresh batch: objects by their world's share, one view and one text of each."""
    device = pictures.device
    numbers: dict[str, int] = {"": 0}

    def code(attributes: Attributes) -> list[int]:
        return [numbers.setdefault(f"{k} {v}" if v else "", len(numbers)) for k, v in enumerate(astuple(attributes))]

    whole = torch.tensor([code(each.attributes) for each in objects], device=device)
    told = torch.tensor([[code(attributes) for _, attributes in row] for row in texts], device=device)
    tokens = tokens.reshape(len(objects), TEXTS, -1)
    chairs = torch.tensor([each.world == "chairs" for each in objects], device=device)
    shares = torch.where(chairs, CHAIRS / chairs.sum().clamp(min=1), (1 - CHAIRS) / (~chairs).sum().clamp(min=1))
    cumulative = (shares.double() / shares.double().sum()).cumsum(0).float()

    def loss() -> Tensor:
        places = torch.searchsorted(cumulative, torch.rand(size.batch, device=device)).clamp(max=len(objects) - 1)
        view = torch.randint(pictures.shape[1], (size.batch,), device=device)
        text = torch.randint(TEXTS, (size.batch,), device=device)
        seen = augment(pictures[places, view].float() / 255)
        a, b, scale = pairs(seen, tokens[places, text])
        return contrast(a, b, scale, whole[places], told[places, text])

    return loss


def _finish(out: Path, held: _Set, training: list[Rendered], run: dict[str, Any], device: torch.device) -> None:
    """Measure the folder as it is stored, and write the card."""
    folder = out / "clip-mini"
    model = round_to_half(CLIPModel.from_pretrained(folder, dtype=torch.float32)).to(device).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else "a CPU"
    types = {each.attributes.type for each in training}
    with_legs = painted_legs(held.objects, held.pictures, copies=1)
    figures: dict[str, Any] = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "training": {**run, "hardware": hardware},
        "held_out": measure(model, tokenizer, held.objects, held.pictures, types),
        "held_out_painted": measure(model, tokenizer, *with_legs, types),
    }
    (folder / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(model_card(figures, training), encoding="utf-8")
    for part in ("held_out", "held_out_painted"):
        for name, row in figures[part].items():
            _say(f"{part}, {name}: {row}")
    total = sum(path.stat().st_size for path in folder.iterdir())
    _say(f"done: {folder}, {total / 1e6:.2f} MB; such as '{full_text(held.objects[0].attributes)}'")


def _say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)
