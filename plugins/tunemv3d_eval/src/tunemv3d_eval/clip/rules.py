"""Rules that turn similarities of an object's pictures and texts into a verdict."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

CHUNK = 100
"""Candidates of Park et al.: the caption and 99 mismatched ones."""
CHUNKS = 10
"""Draws of mismatched captions, over which Park et al. average."""


def vote(similarities: Tensor) -> int:
    """Return the text that most views retrieve (supplement C).

    Of several with as many views, the one with the highest similarity, the mean over all views.

    Args:
        similarities: of n views and m texts, ``n m``.
    """
    votes = similarities.argmax(1).bincount(minlength=similarities.shape[1])
    tied = votes == votes.max()
    return int(similarities.mean(0).masked_fill(~tied, -torch.inf).argmax())


def share_found(similarities: Tensor, right: int) -> float:
    """Return the share of the pictures ``n m`` to which text ``right`` is the most similar of all."""
    return float((similarities.argmax(1) == right).cpu().double().mean())


def chunks(prompt: str, others: Sequence[int]) -> list[list[int]]:
    """Draw ``CHUNKS`` times the places of ``CHUNK - 1`` mismatched texts; the same draws for one prompt always."""
    return [random.Random(f"{prompt} {k}").sample(list(others), CHUNK - 1) for k in range(CHUNKS)]
