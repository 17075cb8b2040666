"""The sampled objects that a command works on: folders that are there, or new ones from a checkpoint and prompts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunemv3d_core.cli.ending import show_result
from tunemv3d_core.console import show_error
from tunemv3d_core.errors import SampleError, TuneMV3DError

if TYPE_CHECKING:
    from tunemv3d_shape.checkpoints import Checkpoints

SourceArgument = Annotated[str, typer.Argument(help="A sampled object's folder, a folder of them, or a checkpoint.")]

SAMPLES = Path("samples")
"""Folder of new samples unless another one is given."""


@dataclass(frozen=True)
class Objects:
    """Sampled objects that a command works on.

    Attributes:
        folders: of sampled objects; those of one checkpoint follow each other.
        into: the folder that results go into; None for the objects' own.
        failed: prompts that could not be sampled, as ``refused`` tells them.
    """

    folders: list[Path]
    into: Path | None
    failed: list[dict[str, str]] = field(default_factory=list)


def objects(source: str, prompts: list[str], out: Path | None, checkpoints: "Checkpoints") -> Objects:
    """Find sampled objects, or sample them.

    Args:
        source: a sampled object's folder, a folder of them, or, with prompts, a checkpoint.
        prompts: what to sample.
        out: the folder for results, if one was given.
        checkpoints: what loads the checkpoint; whatever is sampled with it can be meshed without loading it again.

    Raises:
        TuneMV3DError: no sampled object there, a prompt is empty, or the checkpoint's objects have no surface.
    """
    # Heavy: torch.
    from tunemv3d_core.io.samples import find_samples
    from tunemv3d_shape.checkpoints import by_checkpoint

    if prompts:
        return _sampled(source, prompts, out or SAMPLES, checkpoints)
    found = find_samples(Path(source))
    if not found:
        raise SampleError(
            f"{source}: no sampled object here (a folder with manifest.json, as `tunemv3d sample` makes). "
            f'With a checkpoint, say what to make: {source} "a red chair"'
        )
    return Objects(by_checkpoint(found), out)


def refused(what: Path | str, error: TuneMV3DError) -> dict[str, str]:
    """Tell that an object, a folder or a prompt, was not made, and why; return the same for machines."""
    name = str(what) if isinstance(what, Path) else repr(what)
    message = str(error) if name in str(error) else f"{name}: {error}"
    show_error(TuneMV3DError(message))
    return {"folder" if isinstance(what, Path) else "prompt": str(what), "error": message}


def show_mesh(folder: Path, file: str) -> None:
    """Show a mesh: on a page where it turns if it is its sampled object's and ``tunemv3d report`` is installed.

    Args:
        folder: of the mesh.
        file: its name there.
    """
    from tunemv3d_core.cli.load_command import load_command
    from tunemv3d_core.io.samples import find_samples
    from tunemv3d_core.plugins.registry import registry

    if "report" not in registry().names("command") or not find_samples(folder):
        show_result(folder / file)
        return
    load_command("report").main([str(folder), "--out", str(folder / "object.html"), "--open"], standalone_mode=False)


def _sampled(checkpoint: str, prompts: list[str], out: Path, checkpoints: "Checkpoints") -> Objects:
    """Sample a new object for each prompt."""
    from tunemv3d_core.generation import check_prompts, generate
    from tunemv3d_core.io.sample_files import check_writable

    check_prompts(prompts)
    check_writable(out)
    loaded = checkpoints.get(checkpoint)
    loaded.check_surface()
    folders, failed = [], []
    for prompt in dict.fromkeys(prompts):
        try:
            folders.append(generate(loaded, prompt, out))
        except TuneMV3DError as error:
            failed.append(refused(prompt, error))
    return Objects(folders, None, failed)
