"""Held-out figures: the right caption among all of them, the type among all types, the colours among all colours."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from clip_mini.model import MEAN, STD
from clip_mini.pack import Rendered
from clip_mini.texts import NONE, Attributes, full_text
from tunemv3d_core.viz.colour_words import PALETTE


def tokenize(tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """Return token ids, every row ``model_max_length`` long."""
    rows = tokenizer(list(texts), padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
    return torch.tensor(rows.input_ids)


def picture_vectors(model: CLIPModel, pictures: Tensor) -> Tensor:
    """Return unit vectors ``n d`` of pictures ``n 3 H W`` in [0, 1]."""
    found = model.get_image_features(pixel_values=((pictures - MEAN) / STD).to(model.dtype)).pooler_output
    return torch.nn.functional.normalize(found.float(), dim=-1)


def text_vectors(model: CLIPModel, tokens: Tensor) -> Tensor:
    """Return unit vectors ``n d`` of tokens ``n length``."""
    found = model.get_text_features(input_ids=tokens).pooler_output
    return torch.nn.functional.normalize(found.float(), dim=-1)


@torch.no_grad()
def measure(
    model: CLIPModel, tokenizer: CLIPTokenizer, objects: list[Rendered], pictures: Tensor, trained: set[str]
) -> dict[str, Any]:
    """Measure retrieval on held-out objects, by single views and by the mean of an object's views.

    Args:
        model: the network, float32.
        tokenizer: its tokenizer.
        objects: held-out ones.
        pictures: theirs, ``objects views 3 H W`` uint8.
        trained: types of the training objects; others are no fair question for the type.
    """
    device = next(model.parameters()).device
    views = torch.stack([picture_vectors(model, each.to(device).float() / 255) for each in pictures])
    whole = torch.nn.functional.normalize(views.mean(1, keepdim=True), dim=-1)

    def vectors(texts: Sequence[str]) -> Tensor:
        return text_vectors(model, tokenize(tokenizer, texts).to(device))

    captions = sorted({full_text(each.attributes) for each in objects})
    types = sorted(trained)
    figures: dict[str, Any] = {"objects": len(objects), "pool": len(captions), "types": len(types)}
    for group, chosen in _groups(objects).items():
        for name, found in (("view", views), ("object", whole)):
            known = [k for k in chosen if objects[k].attributes.type in trained]
            parts = [k for k in chosen if objects[k].attributes.part not in (NONE, "")]
            ask = _Question(found, objects, vectors)
            figures[f"{group} by {name}"] = {
                "caption": ask(chosen, captions, lambda a: full_text(a)),
                "type": ask(known, [full_text(_only(t)) for t in types], lambda a: full_text(_only(a.type))),
                "colour": ask.each(chosen, lambda a: [f"a {c} {a.type}" for c in PALETTE], lambda a: a.main),
                "part's colour": ask.each(parts, _second, lambda a: a.second),
            }
            figures[f"{group} by {name}"] |= {"asked": [len(chosen), len(known), len(chosen), len(parts)]}
    return figures


class _Question:
    """Shares of right answers among candidates."""

    def __init__(self, found: Tensor, objects: list[Rendered], vectors: Callable[[Sequence[str]], Tensor]) -> None:
        self.found, self.objects, self.vectors = found, objects, vectors

    def __call__(self, chosen: list[int], pool: list[str], right: Callable[[Attributes], str]) -> float:
        """One pool for all."""
        best = (self.found[chosen] @ self.vectors(pool).T).argmax(-1).cpu()
        wanted = torch.tensor([pool.index(right(self.objects[k].attributes)) for k in chosen])
        return (best == wanted[:, None]).float().mean().item() if chosen else float("nan")

    def each(
        self, chosen: list[int], pool: Callable[[Attributes], list[str]], right: Callable[[Attributes], str]
    ) -> float:
        """One candidate a colour for every object."""
        hits: list[Tensor] = []
        for k in chosen:
            best = (self.found[k] @ self.vectors(pool(self.objects[k].attributes)).T).argmax(-1)
            hits.append((best == list(PALETTE).index(right(self.objects[k].attributes))).float().mean())
        return torch.stack(hits).mean().item() if hits else float("nan")


def _groups(objects: list[Rendered]) -> dict[str, list[int]]:
    seats = ("chair", "armchair", "stool")
    chairs = [k for k, each in enumerate(objects) if each.attributes.type.split()[-1] in seats]
    return {"chairs": chairs, "all": list(range(len(objects)))}


def _only(kind: str) -> Attributes:
    return Attributes(type=kind, second=NONE)


def _second(whole: Attributes) -> list[str]:
    return [full_text(replace(whole, second=colour)) for colour in PALETTE]
