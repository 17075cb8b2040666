"""What a command adds to a checkpoint when it loads one: another base, LoRA, textual inversions, other options."""

import re
from dataclasses import dataclass
from typing import Any

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, TuneMV3DError
from tunemv3d_core.io.file_names import exists, path_of
from tunemv3d_core.slots import LoadsAdapters


@dataclass(frozen=True)
class Additions:
    """Additions to a checkpoint.

    Attributes:
        base: as ``load_checkpoint`` takes it; "" for the checkpoint's own.
        loras: ``FILE`` or ``FILE:WEIGHT`` each; a file, a folder or a hub id.
        embeddings: files, folders or hub ids of textual inversions.
        options: of the model's components, "model.field.samples=48" each, as ``load_checkpoint`` takes them.
    """

    base: str = ""
    loras: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, base: str, loras: list[str] | None, embeddings: list[str] | None, options: list[str] | None = None
    ) -> "Additions":
        """Take a command's ``--base``, ``--lora``, ``--embedding`` and ``--set``."""
        return cls(base, tuple(loras or ()), tuple(embeddings or ()), tuple(options or ()))

    def apply(self, model: MultiviewDiffusion) -> None:
        """Put LoRA and textual inversions on top of a model's backbone.

        Raises:
            ComponentError: a backbone that takes none, or a file that does not fit it.
        """
        if not (self.loras or self.embeddings):
            return
        backbone: Any = model.backbone
        if not isinstance(backbone, LoadsAdapters):
            raise ComponentError(
                f"backbone '{type(backbone).__name__}' takes no LoRA and no textual inversion: leave out --lora and "
                "--embedding"
            )
        for source in self.embeddings:
            backbone.load_textual_inversion(source)
        pairs = [parse_lora(text) for text in self.loras]
        names = [f"lora-{number}" for number in range(len(pairs))]
        for name, (source, _) in zip(names, pairs, strict=True):
            backbone.load_lora_weights(source, name)
        if names:
            backbone.set_adapters(names, [weight for _, weight in pairs])

    def as_json(self) -> dict[str, Any]:
        """Return what was added for a manifest; nothing where nothing was."""
        parts = {"base": self.base, "loras": list(self.loras), "embeddings": list(self.embeddings)}
        parts["options"] = list(self.options)
        return {name: value for name, value in parts.items() if value}


def parse_lora(text: str) -> tuple[str, float]:
    """Split ``FILE:WEIGHT``; the weight is 1 where there is none. The colon of a drive begins no weight.

    Raises:
        TuneMV3DError: a weight that is no finite number.
    """
    file, colon, tail = text.rpartition(":")
    if not colon or exists(path_of(text)) or re.match(r"[\\/]", tail):
        return text, 1.0
    try:
        weight = float(tail)
    except ValueError:
        weight = float("nan")
    if not file or weight != weight or weight in (float("inf"), float("-inf")):
        raise TuneMV3DError(f"--lora {text}: {tail!r} is no weight; write FILE or FILE:0.8")
    return file, weight
