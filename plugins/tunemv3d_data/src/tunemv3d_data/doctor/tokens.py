"""Length of captions for a text encoder."""

from pathlib import Path
from typing import Any

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.doctor.checks.texts import CLIP_LENGTH, estimated_tokens


class Tokens:
    """Counts with the tokenizer of ``text_encoder``, or estimates CLIP's from the words where it is None.

    Args:
        text_encoder: an asset, a folder with ``tokenizer/`` (a pipeline) or with a tokenizer's files, or a hub id.

    Raises:
        ComponentError: there is no tokenizer, or transformers is not installed.
    """

    def __init__(self, text_encoder: str | None) -> None:
        self.tokenizer = None if text_encoder is None else _tokenizer(text_encoder)
        known = getattr(self.tokenizer, "model_max_length", CLIP_LENGTH)
        self.limit: int = known if known < 1_000_000 else CLIP_LENGTH

    def count(self, caption: str) -> int:
        """Tokens of a caption, start and end included."""
        if self.tokenizer is None:
            return estimated_tokens(caption)
        return len(self.tokenizer(caption, verbose=False)["input_ids"])


def _tokenizer(text_encoder: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise ComponentError("--text-encoder needs transformers; install it, or leave the option out") from None
    try:
        path: str | Path = find_asset(text_encoder)
    except ComponentError:
        path = text_encoder
    inside = "tokenizer" if isinstance(path, str) or (path / "tokenizer").is_dir() else ""
    try:
        return AutoTokenizer.from_pretrained(path, subfolder=inside)
    except (OSError, ValueError) as error:
        raise ComponentError(f"--text-encoder {text_encoder}: no tokenizer there: {error}") from None
