"""Which sampled objects a command works on: folders that are there, or new ones from the installed ``sample``."""

import json
import os
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from tunemv3d_core.console import command_of, show_error
from tunemv3d_core.errors import ComponentError, SampleError, TuneMV3DError
from tunemv3d_core.plugins.registry import load_value, registry

if TYPE_CHECKING:
    from tunemv3d_shape.shapes import Models

SAMPLES = Path("samples")
"""Where new samples go unless somebody says where."""


@dataclass(frozen=True)
class Objects:
    """What a command works on.

    Attributes:
        folders: of sampled objects.
        into: the folder that results go into; None for the objects' own.
        whole: whether every prompt was sampled; what was not is told already.
    """

    folders: list[Path]
    into: Path | None
    whole: bool = True


def objects(source: str, prompts: list[str], out: Path | None, models: "Models") -> Objects:
    """Find sampled objects, or sample them.

    Args:
        source: a sampled object's folder, a folder of them, or, with prompts, a checkpoint.
        prompts: what to sample.
        out: what the caller was given.
        models: asked whether the checkpoint's objects have a surface.

    Raises:
        TuneMV3DError: no sampled object there, nothing was sampled, or it would have no surface.
    """
    if prompts:
        models.check_surface(source)
        return sampled(source, prompts, out or SAMPLES)
    folder = Path(source)
    if (folder / "manifest.json").is_file():
        return Objects([folder], out)
    found = sorted(file.parent for file in folder.glob("*/manifest.json"))
    if not found:
        raise SampleError(
            f"{source}: no sampled object here (a folder with manifest.json, as `tunemv3d sample` makes). "
            f'With a checkpoint, say what to make: {source} "a red chair"'
        )
    return Objects(found, out)


def sampled(checkpoint: str, prompts: list[str], out: Path) -> Objects:
    """Run the installed command ``sample``; the new objects.

    Raises:
        TuneMV3DError: the command is not installed, or made nothing.
    """
    try:
        plugin = registry().load(registry().find("command", "sample"))
    except ComponentError as error:
        raise ComponentError(f"sampling needs the command 'sample': pip install tunemv3d-modulation. {error}") from None
    told = StringIO()
    with redirect_stdout(told):
        ended = command_of(load_value(plugin.app), "sample").main(
            [checkpoint, "--out", str(out), "--json", "--", *prompts], standalone_mode=False
        )
    # What it says, because others may write into the same folder meanwhile.
    new = [Path(manifest["folder"]) for manifest in json.loads(told.getvalue())]
    if not new:
        raise TuneMV3DError(f"{out}: sampling made no object")
    return Objects(new, None, whole=not ended)


def check_out(out: Path | None) -> None:
    """Find out before the work whether its results can be kept; makes nothing yet.

    Raises:
        TuneMV3DError: they cannot.
    """
    if out is None:
        return
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise TuneMV3DError(f"{out}: {place} is a file; choose another folder with --out")
    if not os.access(place, os.W_OK | os.X_OK):
        raise TuneMV3DError(f"{out}: {place} is not writable; choose another folder with --out")


def refused(folder: Path, error: TuneMV3DError) -> dict[str, str]:
    """Tell that an object was not made, and why; the same for machines."""
    told = str(error) if str(folder) in str(error) else f"{folder}: {error}"
    show_error(TuneMV3DError(told))
    return {"folder": str(folder), "error": told}
