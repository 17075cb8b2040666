"""The place that a spec names: an asset, a folder, a hub id or a single file."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunemv3d_core.console import quiet
from tunemv3d_core.errors import BaseModelError, ComponentError, TuneMV3DError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.json_files import MAX_BYTES
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_modulation import single_file
from tunemv3d_modulation.pretrained.hub import download
from tunemv3d_modulation.pretrained.weight_files import choose_weights
from tunemv3d_modulation.spec import DiffusersSpec


@dataclass(frozen=True)
class Origin:
    """The place of a pipeline.

    Attributes:
        asked: the name in the spec.
        folder: the folder or hub id of its configs and tokenizers, and of its weights too unless there is a ``file``.
        revision: of a hub id.
        file: the single file that holds all weights.
    """

    asked: str
    folder: str
    revision: str | None = None
    file: Path | None = None

    @property
    def name(self) -> str:
        """Name in messages."""
        return str(self.file or self.folder)


def locate(spec: DiffusersSpec) -> Origin:
    """Find what the spec names, without reading it.

    Raises:
        BaseModelError: neither an asset nor a path nor a possible hub id.
        ComponentError: a ``config`` where none belongs, or a single file of another format.
    """
    if not spec.pretrained:
        raise BaseModelError("backbone 'diffusers': no base model is named")
    found = _find(spec.pretrained)
    if not (isinstance(found, Path) and found.is_file()):
        if spec.config is not None:
            raise ComponentError(
                f"backbone 'diffusers': 'config' is for a single file, but {found} is a whole pipeline: leave it out"
            )
        return Origin(spec.pretrained, str(found), spec.revision)
    if found.suffix != ".safetensors":
        raise ComponentError(f"backbone 'diffusers': {found}: a single file must be a .safetensors file")
    if spec.config is not None:
        return Origin(spec.pretrained, str(_find(spec.config)), spec.revision, found)
    with reading(Origin(spec.pretrained, str(found)), ""):
        return Origin(spec.pretrained, single_file.usual_config(found), spec.revision, found)


def _find(name: str) -> Path | str:
    """Return the path of an asset or a local one; otherwise ``name`` itself where it can be an id on the hub."""
    try:
        return find_asset(name)
    except TuneMV3DError as error:
        if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
            return name
        raise BaseModelError(f"backbone 'diffusers': no model '{shown(name, 200)}': {error}") from None


def local_folder(origin: Origin, parts: Sequence[str], variant: str | None, pickle: bool, weights: bool = True) -> Path:
    """Return the local folder with a pipeline's configs, tokenizers and weights, downloaded if it is on the hub.

    Args:
        origin: its place.
        parts: those with weights that may be there.
        variant: as ``choose_weights`` takes it.
        pickle: as ``choose_weights`` takes it.
        weights: whether they are needed; of the hub configs and tokenizers alone are downloaded otherwise.
    """
    folder = Path(origin.folder)
    if folder.is_dir():
        if not (folder / "model_index.json").is_file():
            raise ComponentError("no pipeline folder: it lacks model_index.json; save one with save_pretrained")
        _check_files(folder)
        return folder

    def wanted(names: list[str]) -> list[str]:
        small = [name for name in names if name.endswith((".json", ".txt"))]
        if origin.file is not None or not weights:
            return small
        there = [part for part in parts if any(name.startswith(f"{part}/") for name in names)]
        chosen = {part: choose_weights(names, part, variant, pickle) for part in there}
        return small + [f"{part}/{file}" for part, weights in chosen.items() for file in weights.files]

    return download(origin.folder, origin.revision, wanted)


def _check_files(folder: Path) -> None:
    """Refuse what the two libraries would wait for or read without end: pipes, devices, huge configs.

    Raises:
        ComponentError: names the file.
    """
    for path in (*folder.glob("*"), *folder.glob("*/*")):
        if not path.exists() or path.is_dir():
            continue
        if not path.is_file():
            raise ComponentError(f"{shown(path.relative_to(folder))} is no plain file")
        if path.suffix == ".json" and path.stat().st_size > MAX_BYTES:
            raise ComponentError(f"{shown(path.relative_to(folder))} is larger than {MAX_BYTES >> 20} MiB")


@contextmanager
def reading(origin: Origin, part: str) -> Iterator[None]:
    """Say in one message what could not be read and why."""
    try:
        with quiet("transformers", "diffusers"):
            yield
    except ComponentError as error:
        raise ComponentError(f"backbone 'diffusers': {origin.name}: {error}") from error
    except Exception as error:  # the two libraries raise a dozen kinds for a missing or a broken file
        # What diffusers says next would have random weights in the place of those of another shape.
        reason = " ".join(str(error).split()).partition(". If you want to instead")[0]
        reason = f"{type(error).__name__}: {reason[:300]}"
        raise _unread(origin, part, reason) from error


def _unread(origin: Origin, part: str, reason: str) -> ComponentError:
    local, who = Path(origin.folder).is_dir(), "backbone 'diffusers':"
    if origin.file is not None and local:
        return ComponentError(f"{who} cannot read {origin.file} by the configs in {origin.folder}: {reason}")
    if origin.file is not None:
        return ComponentError(
            f"{who} {origin.file}: no configs for this file: {part} of the hub id {origin.folder!r} is neither in the "
            f"local cache nor to be had online ({reason}). Name a local pipeline folder of this layout by the option "
            "'config'"
        )
    if local:
        return ComponentError(f"{who} cannot read {Path(origin.folder) / part}: {reason}")
    return BaseModelError(
        f"{who} no model {origin.asked!r}. Looked for an installed asset of that name, the path "
        f"{Path(origin.asked).absolute()}, and {part} of the hub id {origin.folder!r} in the local cache and online "
        f"({reason}). Offline, give the path of a local pipeline folder."
    )
