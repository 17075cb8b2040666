"""The command ``tunemv3d export``: a folder to publish, with its model card."""

from pathlib import Path
from typing import Annotated

import typer

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.cli.model_options import BaseOption, HubCheckpointArgument
from tunemv3d_core.console import console, print_json
from tunemv3d_core.errors import CheckpointError, TuneMV3DError

DTYPES = ("fp32", "fp16", "bf16")


def export(
    checkpoint: HubCheckpointArgument,
    out: Annotated[Path, typer.Option(help="Folder to make; it should not be there yet.")],
    dtype: Annotated[str, typer.Option(help="Of the stored weights: fp32, fp16 or bf16.")] = "fp16",
    licence: Annotated[str, typer.Option(help="Of these weights, as the hub names it, such as cc-by-4.0.")] = "",
    base: BaseOption = "",
    base_model: Annotated[
        str, typer.Option(help="Hub id by which the 2D model is published; default: the spec's, never a path.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a checkpoint as it is published: weights, spec, scheduler, provenance and a model card."""
    if dtype not in DTYPES:
        raise TuneMV3DError(f"--dtype {dtype}: one of {', '.join(DTYPES)} is expected")
    if out.exists():
        raise TuneMV3DError(f"--out {out}: is there already; choose another folder")
    # Heavy: torch, diffusers and transformers.
    import torch

    from tunemv3d_core.io.atomic import atomic_folder
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_modulation.pipeline import TuneMV3DPipeline

    check_writable(out)
    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    pipe = TuneMV3DPipeline.from_pretrained(checkpoint, base=base or None)
    try:
        with atomic_folder(out) as beside:
            pipe.publish(beside, out.name, kinds[dtype], licence, base_model)
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(beside), str(out))) from error
    except OSError as error:
        raise CheckpointError(
            f"{out}: could not be written: {error}; make room there, or choose another --out"
        ) from error
    written = {
        file.relative_to(out).as_posix(): file.stat().st_size for file in sorted(out.rglob("*")) if file.is_file()
    }
    if as_json:
        print_json({"folder": str(out), "files": written})
    else:
        console.print(f"{out}: {sum(written.values()) / 2**20:.1f} MiB", soft_wrap=True, highlight=False)
        say_next("tunemv3d", "evaluate", out)
