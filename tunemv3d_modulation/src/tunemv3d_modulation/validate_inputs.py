"""What a call of the pipeline may be given, checked before anything is sampled; and the types that it gives back."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.consistency import check_consistency
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.posed_images import is_whole
from tunemv3d_core.sampling import Seed
from tunemv3d_core.viz.pictures import to_pil

CALLBACK_TENSORS = ("latents", "x_t", "x0", "opacity", "depth")
"""What a callback may ask for: ``b n c h w`` after the step; what the model saw in it; the field's x0,
``b n v h w``; and its opacity and depth, ``b n h w``. The field's are None where no field ran."""


def as_seeds(given: Seed | Sequence[Seed] | None, objects: int) -> list[Seed]:
    """Where each object's noise comes from: the given one for all, or one each; None is drawn anew for each."""
    if given is None:
        return [int(seed) for seed in torch.randint(2**32, (objects,))]
    return list(given) if isinstance(given, Sequence) else [given] * objects


def as_type(images: Tensor, output_type: str) -> Any:
    """``b n 3 H W`` in [0, 1] as diffusers users ask for them."""
    if output_type == "np":
        return images.movedim(2, -1).cpu().numpy()
    return [[to_pil(view) for view in views] for views in images] if output_type == "pil" else images


def check_output(output_type: str, tensors: Sequence[str]) -> None:
    """Refuse unknown types and tensors before anything is sampled.

    Raises:
        TuneMV3DError: lists the known ones.
    """
    if output_type not in (known := ("pil", "np", "pt", "latent")):
        raise TuneMV3DError(f"output_type should be one of {', '.join(known)}, not {output_type!r}")
    if strays := [name for name in tensors if name not in CALLBACK_TENSORS]:
        raise TuneMV3DError(f"a callback can get {', '.join(CALLBACK_TENSORS)}, not {strays[0]!r}")


def check_options(
    prompts: Sequence[str],
    steps: int,
    guidance: float,
    consistency: float | Sequence[float],
    seeds: Sequence[Seed],
    negatives: Sequence[str],
) -> None:
    """Refuse what cannot be sampled.

    Raises:
        TuneMV3DError: says which option and its range.
    """
    if not prompts or not all(prompt.strip() for prompt in prompts):
        raise TuneMV3DError("a prompt is empty: say what object to make, such as 'a red office chair'")
    if broken := [prompt for prompt in (*prompts, *negatives) if not is_whole(prompt)]:
        raise TuneMV3DError(f"the prompt {ascii(broken[0])[:80]} holds bytes that are no text in UTF-8")
    if steps < 1:
        raise TuneMV3DError(f"steps must be at least 1, not {steps}")
    if not 0 <= guidance < math.inf:
        raise TuneMV3DError(f"guidance must be at least 0, not {guidance}: 1 is none, 3 to 7 is usual")
    check_consistency(consistency)
    if guidance == 1 and any(negatives):
        raise TuneMV3DError("a negative prompt needs guidance: with a guidance scale of 1 nothing moves away from it")
    if any(isinstance(seed, torch.Generator) and seed.device.type != "cpu" for seed in seeds):
        raise TuneMV3DError(
            "a generator should be on the CPU, so that a seed means the same noise on every device: "
            "torch.Generator().manual_seed(7), or the number 7 itself"
        )
    if strays := [seed for seed in seeds if not isinstance(seed, torch.Generator) and not 0 <= seed < 2**32]:
        raise TuneMV3DError(f"a seed should be from 0 to {2**32 - 1}, not {strays[0]}")
    for what, given in (("generators", seeds), ("negative prompts", negatives)):
        if len(given) != len(prompts):
            raise TuneMV3DError(f"{len(given)} {what} for {len(prompts)} prompts: give one for all or one each")


def check_known(pictures: Mapping[int, Any], views: int) -> None:
    """Refuse given pictures, by their views, of an object of so many views.

    Raises:
        TuneMV3DError: one has no camera, or none is left to be made.
    """
    if strays := [index for index in pictures if not 0 <= index < views]:
        raise TuneMV3DError(f"known view {strays[0]} has no camera: there are {views}, counted from 0")
    if len(pictures) == views:
        raise TuneMV3DError(f"all {views} views are known: leave one to be made, or add cameras")
