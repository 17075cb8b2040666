"""Weights of the field's ResNetFC as its kernels take them, and the shape that the kernels are compiled for."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.nn.functional import pad

OUTPUTS = 16
"""Columns of the heads' products: the distance and at most 15 values."""


class Weights(NamedTuple):
    """The network's weights, float32.

    Axis letters: ``k`` blocks, ``l`` of them with latents, ``h`` hidden, ``e`` encoded, ``a`` aggregated channels. The
    biases of the last layers are left to the caller.
    """

    w_in: Tensor
    """``h e``, of encoded points, then of three directions."""
    bias_x: Tensor
    """``(k + 1) h``, added to the residual stream before each block and after the last."""
    w_latent: Tensor
    """``l h a``, of aggregated features, added before each of the first l blocks."""
    w0: Tensor
    """``k h h``, first layers of the blocks."""
    bias_y: Tensor
    """``b k h``, their biases with the embedded noise level."""
    w1: Tensor
    """``k h h``, second layers."""
    w_distance: Tensor
    """``h``, of the distance."""
    w_value: Tensor
    """``h/2 h``, first layer of the values."""
    b_value: Tensor
    """``h/2``."""
    w_direction: Tensor
    """``h/2 3``, of directions, added to that layer."""
    w_out: Tensor
    """``v h/2``, last layer of the values; with v = 0 the distance alone is computed."""
    w_agg: Tensor
    """``(1 + v) a``, from aggregated features to distance and values."""


@dataclass(frozen=True)
class Shape:
    """What the kernels are compiled for.

    Attributes:
        blocks: residual blocks.
        latent_blocks: how many of them are given the aggregated features.
        frequencies: of the encoded points.
        values: v.
        aggregated: channels of the aggregated features.
        hidden: width.
        dtype: of the products' operands.
    """

    blocks: int
    latent_blocks: int
    frequencies: int
    values: int
    aggregated: int
    hidden: int
    dtype: torch.dtype

    @classmethod
    def of(cls, weights: Weights, dtype: torch.dtype) -> "Shape":
        """Return the shape of a network."""
        latent_blocks, hidden, aggregated = weights.w_latent.shape
        blocks, frequencies = weights.w0.shape[0], weights.w_in.shape[1] // 6 - 1
        return cls(blocks, latent_blocks, frequencies, weights.w_out.shape[0], aggregated, hidden, dtype)

    @property
    def features(self) -> int:
        """Aggregated channels but the last, filled up to a power of two."""
        return max(16, int(triton.next_power_of_2(self.aggregated - 1)))

    @property
    def encoded(self) -> int:
        """Columns of encoded points, directions and the share of views, filled up to a power of two."""
        return max(16, int(triton.next_power_of_2(7 + 6 * self.frequencies)))

    @property
    def inputs(self) -> int:
        """Columns of both together, filled up to a power of two."""
        return int(triton.next_power_of_2(self.features + self.encoded))

    @property
    def precision(self) -> str:
        """How float32 operands are multiplied: by three products of tf32, which leaves float32's precision."""
        return "tf32x3" if self.dtype == torch.float32 else "ieee"

    def launch(self, keeps: bool) -> dict[str, Any]:
        """Return the constants of a kernel that goes through the network. On an H200 these tiles were the fastest.

        Args:
            keeps: whether it writes activations or gradients: larger tiles would not fit into the registers then.
        """
        rows, warps = (32, 4) if self.dtype == torch.float32 else (64, 4) if keeps else (128, 8)
        return {
            "BLOCKS": self.blocks,
            "LATENT_BLOCKS": self.latent_blocks,
            "VALUES": self.values,
            "AGGREGATED": self.aggregated,
            "H": self.hidden,
            "A": self.features,
            "OUTPUTS": OUTPUTS,
            "M": rows,
            "PRECISION": self.precision,
            "num_warps": warps,
            "num_stages": 1,
        }


class Packed(NamedTuple):
    """Weights as the kernels read them: matrices in the products' dtype, columns filled up."""

    w_in: Tensor
    bias_x: Tensor
    w_latent: Tensor
    w_share: Tensor
    w0: Tensor
    bias_y: Tensor
    w1: Tensor
    w_distance: Tensor
    w_distance_agg: Tensor
    w_value: Tensor
    b_value: Tensor
    w_direction: Tensor
    w_out: Tensor
    w_agg: Tensor
    w_agg_share: Tensor

    @classmethod
    def of(cls, w: Weights, shape: Shape) -> "Packed":
        """Pack a network's weights."""
        narrow, missing = shape.features - (shape.aggregated - 1), OUTPUTS - w.w_agg.shape[0]

        def matrix(weight: Tensor, *filled: int) -> Tensor:
            return pad(weight, filled).to(shape.dtype).contiguous()

        return cls(
            w_in=matrix(w.w_in, 0, shape.encoded - w.w_in.shape[1]),
            bias_x=w.bias_x.contiguous(),
            w_latent=matrix(w.w_latent[..., :-1], 0, narrow),
            w_share=w.w_latent[..., -1].contiguous(),
            w0=matrix(w.w0),
            bias_y=w.bias_y.contiguous(),
            w1=matrix(w.w1),
            w_distance=w.w_distance.contiguous(),
            w_distance_agg=pad(w.w_agg[0, :-1], (0, narrow)).contiguous(),
            w_value=matrix(w.w_value),
            b_value=w.b_value.contiguous(),
            w_direction=w.w_direction.T.contiguous(),
            w_out=matrix(w.w_out, 0, 0, 1, OUTPUTS - 1 - shape.values),
            w_agg=matrix(w.w_agg[:, :-1], 0, narrow, 0, missing),
            w_agg_share=pad(w.w_agg[:, -1], (0, missing)).contiguous(),
        )
