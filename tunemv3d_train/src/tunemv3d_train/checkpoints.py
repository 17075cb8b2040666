"""Checkpoints of a run: written whole, finite, and with all that going on needs."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.checkpoint import save_checkpoint
from tunemv3d_train import state
from tunemv3d_train.credits import provenance
from tunemv3d_train.non_finite import not_finite
from tunemv3d_train.page import write_page
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.setup import Parts
from tunemv3d_train.sharding import gathered


def write_checkpoint(
    spec: RunSpec, folder: RunFolder, parts: Parts, done: int, values: Mapping[str, Any], is_main: bool
) -> None:
    """Write the checkpoint of a step, remove the oldest, and write the run's page; all processes together.

    Args:
        spec: of the run.
        folder: of the run.
        parts: the model, its optimizers, its average.
        done: steps that are done.
        values: JSON values by name that going on needs beside them.
        is_main: whether this process writes; the others give it their shards of the weights, if there are some.

    Raises:
        CheckpointError: weights or moments hold numbers that are not finite, or the disk is full.
        ComponentError: an optimizer remembers what cannot be saved.
    """
    sample = parts.measurement.sample
    kept = state.collect(
        parts.parameters,
        parts.optimisation.optimizers,
        {
            **{"step": done, **values},
            "drawn": parts.sampler.drawn(done * spec.train.accumulate),
            "measured": [len(sample.objects), list(sample.timesteps)],
            "data": parts.fingerprint,
        },
    )
    averages = {} if parts.average is None else {k: gathered(v) for k, v in parts.average.values.items()}
    if not is_main:
        return
    if broken := not_finite({k: v for k, v in kept.items() if isinstance(v, Tensor)} | averages):
        raise CheckpointError(
            f"step {done}: {len(broken)} weights or moments are not finite ({broken[0]} ...): no checkpoint is "
            "written, and the one before stays. Start anew from it: --set train.start_from, a lower optimizer.lr"
        )
    folder.sync_log()
    save_checkpoint(
        folder.checkpoint(done),
        parts.model,
        spec,
        weights=averages or {name: kept[f"{state.RAW}/{name}"] for name in parts.parameters},
        state=kept,
        data=provenance(spec, parts.dataset),
    )
    folder.prune(spec.train.keep)
    write_page(folder, done)
