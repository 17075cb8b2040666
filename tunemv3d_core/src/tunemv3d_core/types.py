"""What travels between slots. Axes: b objects, n input views, m query views, c latent channels, h w latent size,
f feature channels, v value channels, l d text, r pixels, k level.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras


@dataclass(frozen=True)
class Text:
    """Encoded prompts, one an object.

    Attributes:
        tokens: ``b l d``.
        pooled: ``b d'``, for models that use it.
        mask: ``b l``, 1 where a token counts.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    def map(self, change: Any) -> "Text":
        """Apply a function of a tensor to every tensor held."""
        return replace(self, **{f.name: change(v) for f in fields(self) if (v := getattr(self, f.name)) is not None})

    def per_view(self, views: int) -> "Text":
        """Repeat every prompt for each of its object's views: ``(b n) ...``."""
        return self.map(lambda x: x.repeat_interleave(views, dim=0))

    def where(self, keep: Tensor, other: "Text") -> "Text":
        """Take this text where ``keep`` (``b``, boolean) and ``other`` (batch 1 or b) elsewhere."""

        def pick(mine: Tensor, theirs: Tensor) -> Tensor:
            return torch.where(keep.reshape(-1, *[1] * (mine.ndim - 1)), mine, theirs)

        return replace(
            self,
            **{
                f.name: pick(v, getattr(other, f.name))
                for f in fields(self)
                if (v := getattr(self, f.name)) is not None
            },
        )

    @staticmethod
    def cat(texts: "list[Text]") -> "Text":
        """Concatenate along the batch."""
        first = texts[0]
        return replace(
            first,
            **{
                f.name: torch.cat([getattr(t, f.name) for t in texts])
                for f in fields(first)
                if getattr(first, f.name) is not None
            },
        )


@dataclass(frozen=True)
class Skips:
    """What the frozen encoder hands to the frozen decoder.

    Attributes:
        maps: L tensors ``(b n) c_k h_k w_k``: the skip connections in the encoder's order, the middle last.
        state: whatever else the backbone's decoder needs; private to the backbone.
    """

    maps: tuple[Tensor, ...]
    state: Any = None


@dataclass(frozen=True)
class Rendering:
    """A scene seen from m cameras, as whole maps or at given pixels.

    Attributes:
        values: ``b m v h w`` or ``b m v r``: composited without a background (core adds it).
        opacity: ``b m h w`` or ``b m r``, 0 to 1.
        depth: like opacity: expected z in the camera, world units, 0 where nothing was hit.
        normals: ``b m 3 h w`` or ``b m 3 r``: outward, in world space; None unless asked for.
    """

    values: Tensor
    opacity: Tensor
    depth: Tensor
    normals: Tensor | None = None


@dataclass(frozen=True)
class Views:
    """Pictures of b objects from n cameras with their captions: what datasets yield and training consumes.

    Attributes:
        images: ``b n 3 H W`` in [-1, 1], composited on white.
        alpha: ``b n H W`` in [0, 1].
        cameras: ``b n``.
        captions: b strings.
        ids: b object names.
    """

    images: Tensor
    alpha: Tensor
    cameras: Cameras
    captions: list[str]
    ids: list[str]
