"""The file that a person names: itself, in a folder, or in a repository on the hub."""

import re
from pathlib import Path

from tunemv3d_core.io.file_names import exists, path_of
from tunemv3d_core.io.json_files import is_plain
from tunemv3d_modulation.pretrained.hub import download

LORA_NAMES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
EMBEDDING_NAMES = ("learned_embeds.safetensors",)

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_file(source: str, usual: tuple[str, ...], weight_name: str | None = None) -> Path:
    """Return the safetensors file, downloaded if it is on the hub.

    Args:
        source: a file, a folder, ``owner/name``, or ``owner/name/file.safetensors``.
        usual: names that are taken first in a folder.
        weight_name: the file's name in the folder or repository.

    Raises:
        ValueError: not there, several that could be meant, or not safetensors.
        OSError: the hub has none of that name, or cannot be reached.
    """
    path = path_of(source)
    if is_plain(path):
        if path.suffix != ".safetensors":
            raise ValueError("it is no .safetensors file; pickles, which may hold code, are not read")
        return path
    if not (exists(path) and path.is_dir()):
        owner_name, file = "/".join(source.split("/")[:2]), "/".join(source.split("/")[2:])
        if not _HUB_ID.fullmatch(owner_name) or source.startswith((".", "/")) or (path.suffix and not file):
            raise ValueError("no such file or folder")
        weight_name = weight_name or file or None
        path = download(owner_name, None, lambda names: [n for n in names if n.endswith((".safetensors", ".json"))])
    names = sorted(each.relative_to(path).as_posix() for each in path.rglob("*.safetensors"))
    if weight_name is not None:
        if weight_name not in names:
            raise ValueError(f"it holds no {weight_name}, but {', '.join(names) or 'no .safetensors file'}")
        return path / weight_name
    chosen = next((name for name in usual if name in names), names[0] if len(names) == 1 else None)
    if chosen is None:
        raise ValueError(f"it holds {', '.join(names) or 'no .safetensors file'}; name one, as FOLDER/FILE")
    return path / chosen
