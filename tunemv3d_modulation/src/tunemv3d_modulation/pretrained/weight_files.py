"""Which files of a pipeline are its weights: as published, in half precision alone, in shards, or pickled."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from tunemv3d_core.finite import all_finite
from tunemv3d_core.io.json_files import read_json

HALF = ("fp16", "bf16")
"""Variants that stand for the model itself, rounded: read where they are all that is there."""

FLOATS = ("F16", "BF16", "F32", "F64")
"""Kinds of numbers that weights may have, by safetensors' names."""


@dataclass(frozen=True)
class Weights:
    """The files of one part.

    Attributes:
        variant: the word in their names, such as "fp16"; None for none.
        pickled: whether they are ``.bin``.
        files: their names in the part's folder, without a list of shards.
    """

    variant: str | None
    pickled: bool
    files: list[str] = field(default_factory=list)


def choose_weights(names: Sequence[str], part: str, variant: str | None = None, pickle: bool = False) -> Weights:
    """Choose a part's weights from the names of a pipeline's files, as diffusers and transformers do.

    Args:
        names: such as ``unet/config.json``.
        part: such as "unet".
        variant: taken where the part has it; otherwise the plain files are. None also takes one of ``HALF`` where there
            are no plain files.
        pickle: take ``.bin`` files where there are no others.

    Raises:
        ValueError: no weights, or only such as were not asked for; says by which option they are.
    """
    own = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
    tried = [variant, None] if variant else [None, *HALF]
    for suffix in ("safetensors", *(["bin"] if pickle else [])):
        for each in tried:
            if files := _files(own, _stem(part, suffix), suffix, each):
                return Weights(each, suffix == "bin", files)
    raise ValueError(_lack(own, part))


def _stem(part: str, suffix: str) -> str:
    """Return a file name's start: transformers has one for either format, diffusers another for both."""
    if not part.startswith("text_encoder"):
        return "diffusion_pytorch_model"
    return "model" if suffix == "safetensors" else "pytorch_model"


def _files(names: Sequence[str], stem: str, suffix: str, variant: str | None) -> list[str]:
    """Return a single file, or shards in order; the variant stands before or after their numbers."""
    word = f".{variant}" if variant else ""
    if (single := f"{stem}{word}.{suffix}") in names:
        return [single]
    counted, end = r"-\d+-of-\d+", re.escape(f".{suffix}")
    shard = re.compile(f"{stem}({re.escape(word)}{counted}|{counted}{re.escape(word)}){end}")
    index = f"{stem}.{suffix}.index{word}.json"
    return sorted(filter(shard.fullmatch, names)) if index in names else []


def _lack(names: Sequence[str], part: str) -> str:
    """Say what is there instead of weights."""
    if found := sorted({m[1] for name in names if (m := re.fullmatch(r"\w*model\.(\w+)\.safetensors", name))}):
        return f"no weights but those of the variants {', '.join(found)}; ask for one by 'variant'"
    if any(name.endswith(".bin") for name in names):
        return (
            "its weights are pickles (.bin), which are read if the option 'pickle' is true, without running "
            "code in them; better save the model as safetensors"
        )
    return f"no weights; the folder {part} should hold {_stem(part, 'safetensors')}.safetensors"


def weight_paths(folder: Path, part: str, weights: Weights) -> list[Path]:
    """Return the files that are read, the list of shards among them.

    Raises:
        ValueError: a shard that the list names is not there.
    """
    paths = [folder / part / name for name in weights.files]
    suffix, word = "bin" if weights.pickled else "safetensors", f".{weights.variant}" if weights.variant else ""
    index = folder / part / f"{_stem(part, suffix)}.{suffix}.index{word}.json"
    if [path.name for path in paths] == [f"{_stem(part, suffix)}{word}.{suffix}"]:
        return paths
    listed = set(read_json(index)["weight_map"].values())
    if missing := sorted(listed - set(weights.files)):
        raise ValueError(f"its weights are in {len(listed)} files, of which {missing[0]} is missing; download it again")
    return [index, *(path for path in paths if path.name in listed)]


def check_numbers(path: Path) -> None:
    """Refuse a safetensors file of weights that are no floating-point numbers of 16 bits or more.

    Raises:
        ValueError: names the tensor; the libraries would cast it without a word.
    """
    if path.suffix != ".safetensors":
        return
    with safe_open(path, "pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
    # Older text encoders store the numbers of their positions.
    odd = sorted(n for n, kind in kinds.items() if kind not in FLOATS and not n.endswith("position_ids"))
    if odd:
        raise ValueError(
            f"{len(odd)} weights are no floating-point numbers, such as {odd[0]} ({kinds[odd[0]]}): quantised or "
            "damaged; take the model in fp16, bf16 or fp32"
        )


def check_finite(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not finite.

    Raises:
        ValueError: names the tensor.
    """
    bad = sorted(n for n, w in weights.items() if not bool(all_finite(w)))
    if bad:
        raise ValueError(f"{len(bad)} weights are not finite, such as {bad[0]}: the file is damaged; restore it")
