"""Sampling every prompt at every K from equal noise, in batches, into files; what is there is not made again."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch
from torch import Tensor

from tunemv3d_core.consistency import Consistency
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.sampling import sample
from tunemv3d_eval.samples.jobs import Job, Settings, in_batches, objects_at_once
from tunemv3d_eval.samples.store import SampleStore, as_bytes

AT_ONCE = 32
"""Objects in a batch on an accelerator; halved whenever they do not fit. One at a time on a CPU."""

WAITING = 4
"""Batches that may wait to be written while others are made."""


def generate(
    model: MultiviewDiffusion,
    store: SampleStore,
    settings: Settings,
    work: Sequence[Job],
    progress: Callable[[int], None],
) -> int:
    """Make the samples that are not on disk yet.

    Args:
        model: what samples.
        store: where they go.
        settings: of the sampling.
        work: prompts and seeds.
        progress: told how many samples are there by now.

    Returns:
        How many were made.

    Raises:
        SampleError: a sample of another checkpoint or of other options lies in one's place.
    """
    # All of them first: nothing is made where one is another checkpoint's.
    missing = {k: [job for job in work if not store.check(k, job)] for k in settings.consistency}
    total = sum(map(len, missing.values()))
    there = len(work) * len(missing) - total
    progress(there)
    pending: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as writer:
        for k, todo in missing.items():
            batches = in_batches(todo, objects_at_once(model, AT_ONCE), partial(make, model, settings, k))
            for batch, (latents, images) in batches:
                pending.append(writer.submit(_write, store, k, batch, latents, images))
                while len(pending) > WAITING:
                    pending.popleft().result()
                there += len(batch)
                progress(there)
        while pending:
            pending.popleft().result()
    return total


@torch.no_grad()
def make(model: MultiviewDiffusion, settings: Settings, k: Consistency, batch: Sequence[Job]) -> tuple[Tensor, Tensor]:
    """Sample a batch of b objects at K = ``k``.

    Returns:
        Their clean latents ``b n c h w``, and the decoded views as bytes, ``b n 3 H W``; both on the CPU.
    """
    backbone = model.backbone
    cameras = settings.cameras(backbone.ports).to(model.device)[None].expand(len(batch), settings.views)
    latents = sample(
        model,
        backbone.encode_text([job.prompt for job in batch]),
        cameras,
        [job.seed for job in batch],
        settings.options.merged(consistency=k),
        negative=backbone.encode_text([""] * len(batch)),
    )
    return latents.cpu(), as_bytes(backbone.decode_latents(latents)).cpu()


def _write(store: SampleStore, k: Consistency, batch: Sequence[Job], latents: Tensor, images: Tensor) -> None:
    for job, its_latents, its_images in zip(batch, latents, images, strict=True):
        store.write(k, job, its_latents, its_images)
