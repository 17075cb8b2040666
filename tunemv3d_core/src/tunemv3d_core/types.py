"""Data that travels between slots.

Axes: b objects, n input views, m query views, c latent channels, h w latent size, H W picture size, f feature channels,
v value channels, l text tokens, d their channels, r pixels, p points, k level of a feature map (L of them).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import PosedImages


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


@dataclass(frozen=True)
class SampledObject:
    """One finished object, as metrics see it: sampled views, or real ones that passed the model's autoencoder.

    Attributes:
        prompt: what was asked for, or the caption of real views.
        images: the decoded views, ``n 3 H W`` in [-1, 1], on white.
        silhouettes: ``n H W``, boolean: pixels that show the object.
        latents: ``n c h w``, clean.
        cameras: ``n``.
        opacity: of the field that was fused from the views, from the same cameras, ``n h w`` in [0, 1]; None without a
            field.
        renders: the field's renders from the same cameras, decoded, like ``images``; None without a field that gives
            latents.
        record: what the dataset knows of a real object; None of one that was sampled from a prompt.
    """

    prompt: str
    images: Tensor
    silhouettes: Tensor
    latents: Tensor
    cameras: Cameras
    opacity: Tensor | None = None
    renders: Tensor | None = None
    record: PosedImages | None = None

    def to(self, device: str | torch.device) -> Self:
        """Move every tensor."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: v.to(device) for n, v in held.items() if isinstance(v, Tensor | Cameras)}
        return replace(self, **moved)


class Need(StrEnum):
    """What a metric may need beside the views, their cameras and the prompt."""

    FIELD = "field"
    """A model with a field, so that ``SampledObject.opacity`` is there."""
    RENDERS = "renders"
    """A field that gives latents, so that ``SampledObject.renders`` is there."""
    NOVEL_VIEWS = "novel_views"
    """A field that renders cameras that it did not see."""
    RECORD = "record"
    """An object of a dataset, so that ``SampledObject.record`` is there."""


@dataclass(frozen=True)
class Figure:
    """What a metric says of one of its numbers.

    Attributes:
        summary: what the number is, one line, with its unit.
        higher_is_better: the direction.
        low: the smallest value that can be.
        high: the largest.

    Raises:
        ValueError: no summary, or an empty range.
    """

    summary: str
    higher_is_better: bool = True
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.summary.strip() or "\n" in self.summary:
            raise ValueError("a figure's summary should be one line that says what the number is")
        if not self.low < self.high:
            raise ValueError(f"a figure's range should not be empty, got {self.low:g} to {self.high:g}")

    def error(self, value: Any) -> str | None:
        """What is wrong with a value, if anything; follows the figure's name in a sentence."""
        if value is None:  # the figure says nothing of this object
            return None
        if not isinstance(value, int | float):
            return f"is {value!r:.60}, not a number or None"
        if not math.isfinite(value):
            return f"is {value}, not finite"
        if not self.low <= value <= self.high:
            return f"is {value:g}, not between {self.low:g} and {self.high:g} as declared"
        return None


def figures_error(declared: Mapping[str, Figure], given: Any) -> str | None:
    """What is wrong with the figures that a metric gave, if anything: other names than it declares, or a bad value."""
    if not isinstance(given, Mapping):
        return f"gives {given!r:.60}, not figures by name"
    if given.keys() != declared.keys():
        return f"gives {', '.join(map(str, given)) or 'nothing'}, but declares {', '.join(declared)}"
    errors = [f"'{name}' {error}" for name, figure in declared.items() if (error := figure.error(given[name]))]
    return "; ".join(errors) or None


@dataclass(frozen=True)
class Pictures:
    """Pictures of one object, cut out.

    Attributes:
        colours: ``n 3 H W`` in [0, 1], sRGB, without a background behind them (straight alpha).
        alpha: ``n H W`` in [0, 1].
        cameras: ``n``.
    """

    colours: Tensor
    alpha: Tensor
    cameras: Cameras

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.alpha.shape[-2], self.alpha.shape[-1]

    def on_white(self) -> Tensor:
        """``n 3 H W`` in [0, 1]."""
        return self.colours * self.alpha[:, None] + 1 - self.alpha[:, None]


@dataclass(frozen=True)
class TexturedMesh:
    """Triangles with a texture. As in an OBJ file, a vertex on a seam has several texture coordinates.

    Attributes:
        vertices: ``v 3`` float32, world units, z up.
        faces: ``f 3`` int32, indices of vertices, counter-clockwise as seen from outside.
        normals: ``v 3`` float32, outward, unit.
        colours: ``v 3`` uint8, sRGB, for formats without a texture.
        uv: ``u 2`` float32 in [0, 1], u to the right and v upwards.
        uv_vertices: ``u`` int32, the vertex that each texture coordinate belongs to.
        uv_faces: ``f 3`` int32, the same triangles as indices of texture coordinates.
        texture: ``s s 3`` uint8, sRGB, row 0 at the top.
        figures: what was measured of the mesh, by name, for manifests; None where it could not be measured.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8]
    uv: NDArray[np.float32]
    uv_vertices: NDArray[np.int32]
    uv_faces: NDArray[np.int32]
    texture: NDArray[np.uint8]
    figures: dict[str, float | None] = field(default_factory=dict)

    @property
    def watertight(self) -> bool:
        """Whether every edge belongs to exactly two faces, so that nobody sees the inside."""
        edges = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        return bool((np.unique(edges, axis=0, return_counts=True)[1] == 2).all())
