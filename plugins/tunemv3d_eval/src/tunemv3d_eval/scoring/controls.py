"""Controls: what a figure says of views that are known to be good or bad, made from the same pictures.

"repeated"   an object's first view, seen from every camera
"shuffled"   every camera's view of another object
"noise"      every view with its latent cells in random places: as much of every colour, and no object; the floor

The ceiling is "real": held-out objects of a dataset (``scoring.real``). Latents of pure noise are no floor: their
pictures are foreground all over, which agrees with everything.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Generator, Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Figure, MeasuredObject
from tunemv3d_eval.scoring.measure import finished_objects
from tunemv3d_eval.statistics.bootstrap import Interval


def control_objects(
    samples: Sequence[MeasuredObject], model: MultiviewDiffusion, seed: int = 0
) -> dict[str, list[MeasuredObject]]:
    """Make the controls of samples.

    Args:
        samples: of one K, all with as many views of one size.
        model: that they come from.
        seed: of what is drawn.

    Returns:
        Objects on the CPU by the control's name. "shuffled" is left out for a single sample.
    """
    found = {"repeated": [_made(model, s, s.latents[:1].expand_as(s.latents)) for s in samples]}
    if len(samples) > 1:
        found["shuffled"] = [_made(model, s, views) for s, views in zip(samples, _shuffled(samples, seed), strict=True)]
    found["noise"] = [_made(model, s, views) for s, views in zip(samples, _scattered(samples, seed), strict=True)]
    return found


@torch.no_grad()
def _made(model: MultiviewDiffusion, sample: MeasuredObject, latents: Tensor) -> MeasuredObject:
    """A sample's object with other latents ``n c h w``."""
    text = model.backbone.encode_text([sample.prompt])
    device = model.device
    made = finished_objects(model, latents[None].to(device), text, sample.cameras[None].to(device), [sample.prompt])
    return made[0].to("cpu")


def _shuffled(samples: Sequence[MeasuredObject], seed: int) -> Iterator[Tensor]:
    """Latents ``n c h w`` per sample: no two views of one object, as long as there are as many samples as views."""
    order = torch.randperm(len(samples), generator=Generator().manual_seed(seed)).tolist()
    place = {sample: at for at, sample in enumerate(order)}
    for i in range(len(samples)):
        donors = [samples[order[(place[i] + view) % len(samples)]] for view in range(len(samples[i].latents))]
        yield torch.stack([donor.latents[view] for view, donor in enumerate(donors)])


def _scattered(samples: Sequence[MeasuredObject], seed: int) -> Iterator[Tensor]:
    """Latents ``n c h w`` per sample, the cells of every view in an order of its own."""
    generator = Generator().manual_seed(seed)
    for sample in samples:
        n, _, h, w = sample.latents.shape
        order = torch.rand(n, 1, h * w, generator=generator).argsort(-1).to(sample.latents.device)
        cells = sample.latents.flatten(2)
        yield cells.gather(-1, order.expand_as(cells)).reshape(sample.latents.shape)


def useless(real: Interval, noise: Interval, figure: Figure) -> str | None:
    """Say why a figure is worth nothing here: it does not put real views above noise; None where it does.

    Args:
        real: of the figure over the real views, the ceiling.
        noise: over the floor.
        figure: which of the two should be higher.

    Returns:
        One sentence; None also where an interval is missing.
    """
    if real.low is None or real.high is None or noise.low is None or noise.high is None:
        return None
    apart = noise.high < real.low if figure.higher_is_better else real.high < noise.low
    if apart:
        return None
    return f"cannot tell real views ({_told(real)}) from noise ({_told(noise)})"


def _told(interval: Interval) -> str:
    return f"{interval.mean:.3g}, {interval.low:.3g} to {interval.high:.3g}"
