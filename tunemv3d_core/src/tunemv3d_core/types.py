"""Data that travels between slots.

Axes: b objects, n input views, m query views, c latent channels, h w latent size, H W picture size, f feature channels,
v value channels, l text tokens, d their channels, r pixels, p points, k level of a feature map (L of them).
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras


@dataclass(frozen=True)
class Text:
    """Encoded prompts, one per object.

    Attributes:
        tokens: ``b l d``.
        pooled: ``b d'``; None for models that use none.
        mask: ``b l``, 1 where a token counts; None where all do.
    """

    tokens: Tensor
    pooled: Tensor | None = None
    mask: Tensor | None = None

    def map(self, change: Any) -> "Text":
        """Apply a function from tensor to tensor to each of the tensors."""
        return replace(self, **{f.name: change(v) for f in fields(self) if (v := getattr(self, f.name)) is not None})

    def per_view(self, views: int) -> "Text":
        """Repeat every prompt for each of its object's n views: ``(b n) ...``."""
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
    """Output of the frozen encoder, for the frozen decoder.

    Attributes:
        maps: L tensors ``(b n) c_k h_k w_k``: the skip connections in the encoder's order, the middle block last; to
            each of them the injector adds a residual.
        state: whatever else the decoder needs; private to the backbone.
    """

    maps: tuple[Tensor, ...]
    state: Any = None


@dataclass(frozen=True)
class Rendering:
    """Render of a scene from m cameras, as whole maps or at given pixels.

    With w_s the weight of sample s of a ray, opacity is the sum of w_s, values the sum of w_s value_s, and depth the
    sum of w_s z_s divided by opacity.

    Attributes:
        values: ``b m v h w`` or ``b m v r``: premultiplied by opacity and without a background, so that they are 0
            where nothing is; core adds ``(1 - opacity) * background`` (``MultiviewDiffusion.blend``). Latents or
            features, of any range, with the dtype of the scene's features.
        opacity: ``b m h w`` or ``b m r``, 0 to 1, with the dtype of the values.
        depth: like opacity, but float32: expected z in the camera (not the length of the ray), world units, divided by
            opacity; 0 where nothing was hit.
        normals: ``b m 3 h w`` or ``b m 3 r``: unit length, outward, in world space; 0 where nothing was hit. None
            unless asked for, and where the scene has none.
    """

    values: Tensor
    opacity: Tensor
    depth: Tensor
    normals: Tensor | None = None


@dataclass(frozen=True)
class Views:
    """Pictures of b objects from n cameras with their captions, as datasets give them.

    Attributes:
        images: ``b n 3 H W`` in [-1, 1], float32, sRGB, composited on white.
        alpha: ``b n H W`` in [0, 1], float32: how much of a pixel the object covers.
        cameras: ``b n``, the same as the record's.
        captions: b strings, the first of each object's captions.
        ids: b object names.
    """

    images: Tensor
    alpha: Tensor
    cameras: Cameras
    captions: list[str]
    ids: list[str]
