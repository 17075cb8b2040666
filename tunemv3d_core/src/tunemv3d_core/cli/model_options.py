"""Which model, and where and how it computes: arguments that every command that samples shares."""

from typing import TYPE_CHECKING, Annotated

import typer

from tunemv3d_core.errors import TuneMV3DError

if TYPE_CHECKING:
    from tunemv3d_core.placement import Placement

DTYPES = ("auto", "float32", "float16", "bfloat16")
OFFLOADS = ("none", "model", "sequential")

CheckpointArgument = Annotated[str, typer.Argument(help="A packaged checkpoint's name, its folder, or a run's folder.")]
HubCheckpointArgument = Annotated[
    str, typer.Argument(help="A packaged checkpoint's name, its folder, a run's folder or a hub id.")
]
DeviceOption = Annotated[str, typer.Option(help="Such as cpu or cuda; default: cuda, else mps, where there is one.")]
DtypeOption = Annotated[
    str,
    typer.Option(
        help="Numbers to compute with: float32, float16, bfloat16, or auto: what the model was trained in on an "
        "accelerator that is quick at it, else float32."
    ),
]
OffloadOption = Annotated[
    str,
    typer.Option(
        help="What waits in the machine's memory instead of the accelerator's: none, model (all parts but the one at "
        "work) or sequential (all layers but the one at work: least memory, slow)."
    ),
]
BaseOption = Annotated[
    str,
    typer.Option(
        "--base",
        metavar="PATH_OR_ID",
        help="Where the pretrained 2D model is now, or another one of the same kind; default: TUNEMV3D_BASE, or the "
        'one that the checkpoint names. Options of the backbone go as JSON: {"pretrained": ..., "variant": "fp16"}.',
        show_default=False,
    ),
]
LoraOption = Annotated[
    list[str] | None,
    typer.Option(
        "--lora",
        metavar="FILE[:WEIGHT]",
        help="LoRA on top of the 2D model: a file, a folder or a hub id, and how much of it. Again for more.",
    ),
]
EmbeddingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--embedding", metavar="FILE", help="A textual inversion, whose word prompts may then use. Again for more."
    ),
]


def read_placement(device: str, dtype: str, offload: str) -> "Placement":
    """Read ``--device``, ``--dtype`` and ``--offload``, and find out if the device can do it.

    Raises:
        TuneMV3DError: an unknown word, a device that is not there, a dtype that it lacks, or no accelerator to keep
            parts off.
    """
    for option, given, known in (("--dtype", dtype, DTYPES), ("--offload", offload, OFFLOADS)):
        if given not in known:
            raise TuneMV3DError(f"{option} {given}: one of {', '.join(known)} is expected")
    # Heavy: torch.
    from tunemv3d_core.devices import check_dtype, find_device
    from tunemv3d_core.placement import Placement

    place = find_device(device)
    if offload != "none" and place.type == "cpu":
        raise TuneMV3DError(
            f"--offload {offload}: keeps parts of the model off an accelerator, and '{place}' is none; leave it out, "
            "or name one with --device"
        )
    if dtype != "auto":
        check_dtype(place, dtype)
    return Placement(place, dtype, offload)
