"""Check the inputs of a call before anything is sampled."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core import generation
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.ports import BackbonePorts
from tunemv3d_core.sampling import Seed


def as_seeds(given: Seed | Sequence[Seed] | None, prompts: int, each: int = 1) -> list[Seed]:
    """Return a seed or generator for every sample.

    Args:
        given: one for all prompts, one per prompt, or one per sample; for None seeds are drawn.
        prompts: their number.
        each: samples of a prompt: the first takes the prompt's seed, the others those that follow; a generator goes on.
    """
    if given is None:
        return [int(seed) for seed in torch.randint(2**32, (prompts * each,))]
    listed = list(given) if isinstance(given, Sequence) else [given] * prompts
    if len(listed) != prompts:
        return listed
    return [
        seed if isinstance(seed, torch.Generator) or not i else (seed + i) % 2**32
        for seed in listed
        for i in range(each)
    ]


def check_prompts(prompts: Sequence[str], negatives: Sequence[str], guidance: float) -> None:
    """Refuse prompts that cannot be sampled.

    Args:
        prompts: one per object.
        negatives: likewise.
        guidance: scale of classifier-free guidance.

    Raises:
        TuneMV3DError: no prompt, an empty or unreadable one, or negative ones that do not fit the others.
    """
    generation.check_prompts(prompts, negatives)
    if guidance <= 1 and any(negatives):
        raise TuneMV3DError("a negative prompt needs guidance: with a guidance scale of 1 nothing moves away from it")
    _check_number("negative prompts", len(negatives), len(prompts))


def check_seeds(seeds: Sequence[Seed], objects: int) -> None:
    """Refuse seeds that cannot be drawn from.

    Raises:
        TuneMV3DError: one out of range, a generator on an accelerator, or another number of them than of objects.
    """
    if any(isinstance(seed, torch.Generator) and seed.device.type != "cpu" for seed in seeds):
        raise TuneMV3DError(
            "a generator should be on the CPU, so that a seed means the same noise on every device: "
            "torch.Generator().manual_seed(7), or the number 7 itself"
        )
    if strays := [seed for seed in seeds if not isinstance(seed, torch.Generator) and not 0 <= seed < 2**32]:
        raise TuneMV3DError(f"a seed should be from 0 to {2**32 - 1}, not {strays[0]}")
    _check_number("generators", len(seeds), objects)


def check_embeds(name: str, tokens: Tensor, pooled: Tensor | None, objects: int, ports: BackbonePorts) -> None:
    """Refuse encoded prompts that the backbone does not take.

    Args:
        name: of the argument.
        tokens: ``b l d``.
        pooled: ``b d'`` or None.
        objects: b.
        ports: of the backbone.

    Raises:
        TuneMV3DError: another number or width of them, or pooled text where there should be none, or the other way.
    """
    if tokens.ndim != 3 or len(tokens) != objects or tokens.shape[-1] != ports.text_channels:
        raise TuneMV3DError(
            f"{name} should be {objects} x tokens x {ports.text_channels}, not {' x '.join(map(str, tokens.shape))}"
        )
    wanted = None if ports.pooled_channels is None else (objects, ports.pooled_channels)
    found = None if pooled is None else tuple(pooled.shape)
    if wanted != found:
        other = name.replace("prompt_embeds", "pooled_prompt_embeds")
        raise TuneMV3DError(f"{name} and {other}: the model takes pooled text of shape {wanted}, not {found}")


def _check_number(what: str, given: int, objects: int) -> None:
    if given != objects:
        raise TuneMV3DError(f"{given} {what} for {objects} prompts: give one for all or one each")


def check_known(pictures: Mapping[int, Any], views: int) -> None:
    """Refuse known views that do not fit an object of so many views.

    Args:
        pictures: the known ones by their index.
        views: cameras of the object.

    Raises:
        TuneMV3DError: one has no camera, or no view is left to be made.
    """
    if strays := [index for index in pictures if not 0 <= index < views]:
        raise TuneMV3DError(f"known view {strays[0]} has no camera: there are {views}, counted from 0")
    if len(pictures) == views:
        raise TuneMV3DError(f"all {views} views are known: leave one to be made, or add cameras")
