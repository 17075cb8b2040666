"""The field's ResNetFC on a GPU: distances and values at points, with no activation kept for the backward pass.

The backward pass evaluates the network again, ``BACKWARD_POINTS`` points at a time.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from tunemv3d_core.planned import register_workspace
from tunemv3d_neus.kernels import resnetfc_kernels as kernels
from tunemv3d_neus.kernels.resnetfc_weights import OUTPUTS, Packed, Shape, Weights

BACKWARD_POINTS = 2**19
"""Points whose activations and gradients are in memory at once: 7 kB each at width 128 in 16 bits."""

WEIGHT_PROGRAMS = 264
"""Programs that add up weights' gradients; each has its own part of the result. Two for each processor of an H200."""


@torch.library.custom_op("tunemv3d::resnetfc", mutates_args=())
def resnetfc(
    points: Tensor,
    directions: Tensor,
    aggregated: Tensor,
    weights: Sequence[Tensor],
    omega: float,
    initial_radius: float,
    radius: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """Compute signed distances ``b p`` and values ``b p v``, float32. Gradients reach ``aggregated`` and the weights.

    Args:
        points: ``b p 3``, world units, float32.
        directions: ``b r 3``, unit, of rays with p / r points each, float32; ``b 0 3`` where there are none.
        aggregated: ``b p a``, float32; the last channel is the share of views.
        weights: ``Weights``.
        omega: lowest frequency of the encoding, radians per world unit.
        initial_radius: of the sphere that the distance starts from, world units.
        radius: of the sphere that holds the object. Where no point of a tile lies in it, the network is not evaluated:
            the distance is that to the first sphere, the values are zero.
        dtype: of the products' operands; sums are float32.
    """
    network = Weights(*weights)
    shape = Shape.of(network, dtype)
    b, p = points.shape[:2]
    evaluation = _Evaluation(
        shape, Packed.of(network, shape), points, directions, aggregated, (omega, initial_radius, radius)
    )
    sdf, values = points.new_empty(b, p), points.new_empty(b, p, shape.values)
    with torch.cuda.device_of(points):  # type: ignore[no-untyped-call]
        evaluation.forward(sdf, values)
    return sdf, values


@resnetfc.register_fake
def _(points: Tensor, directions: Tensor, aggregated: Tensor, weights: Sequence[Tensor], *_: Any) -> Any:
    b, p = points.shape[:2]
    return points.new_empty(b, p), points.new_empty(b, p, Weights(*weights).w_out.shape[0])


@torch.library.custom_op("tunemv3d::resnetfc_backward", mutates_args=())
def resnetfc_backward(
    g_sdf: Tensor,
    g_values: Tensor,
    points: Tensor,
    directions: Tensor,
    aggregated: Tensor,
    weights: Sequence[Tensor],
    omega: float,
    initial_radius: float,
    radius: float,
    dtype: torch.dtype,
) -> list[Tensor]:
    """Compute the gradients of ``aggregated`` and ``weights`` from those of distances ``b p`` and values ``b p v``."""
    network = Weights(*weights)
    shape = Shape.of(network, dtype)
    evaluation = _Evaluation(
        shape, Packed.of(network, shape), points, directions, aggregated, (omega, initial_radius, radius)
    )
    with torch.cuda.device_of(points):  # type: ignore[no-untyped-call]
        return evaluation.backward(g_sdf, g_values, network)


@resnetfc_backward.register_fake
def _(g_sdf: Tensor, g_values: Tensor, points: Tensor, directions: Tensor, *rest: Any) -> list[Tensor]:
    return [torch.empty_like(z) for z in (rest[0], *rest[1])]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    points, directions, aggregated, weights, *ctx.options = inputs
    ctx.save_for_backward(points, directions, aggregated, *weights)


def _differentiate(ctx: Any, g_sdf: Tensor, g_values: Tensor) -> tuple[Any, ...]:
    points, directions, aggregated, *weights = ctx.saved_tensors
    outputs = g_sdf.contiguous(), g_values.contiguous()
    g_aggregated, *g_weights = resnetfc_backward(*outputs, points, directions, aggregated, weights, *ctx.options)
    return None, None, g_aggregated, g_weights, None, None, None, None


resnetfc.register_autograd(_differentiate, setup_context=_save)


class _Kept:
    """Activations and gradients of a chunk of points of each object."""

    def __init__(self, shape: Shape, b: int, chunk: int, device: torch.device) -> None:
        layers = 2 * shape.blocks + 1
        kind: dict[str, Any] = {"device": device, "dtype": shape.dtype}
        self.g_out = torch.zeros(b, chunk, OUTPUTS, device=device)
        self.inputs = torch.zeros(1, b, chunk, shape.inputs, **kind)
        self.activations = torch.empty(layers, b, chunk, shape.hidden, **kind)
        self.value_activations = torch.zeros(1, b, chunk, shape.hidden // 2, **kind)
        self.gradients = torch.empty(layers + 1, b, chunk, shape.hidden, **kind)
        self.gradients[-1].zero_()  # the heads' gradients do not fill the width
        self.flags = torch.empty(b, triton.cdiv(chunk, shape.launch(keeps=True)["M"]), device=device, dtype=torch.int32)

    def products(self, shape: Shape) -> "dict[str, _Products]":
        """Begin the sums over these points that the weights' gradients are picked from (``_collected``)."""
        return {
            "blocks": _Products(self.gradients[1:], self.activations),
            "inputs": _Products(self.gradients[: shape.latent_blocks], self.inputs),
            "heads": _Products(self.gradients[-1:], self.inputs),
            "out": _Products(self.gradients[-1:], self.value_activations),
        }


def _backward_chunk(shape: Shape, b: int, p: int) -> int:
    """Return how many points of each of b objects with p points are differentiated at once."""
    rows = shape.launch(keeps=True)["M"]
    return int(min(rows * triton.cdiv(p, rows), max(rows, BACKWARD_POINTS // b // rows * rows)))


@register_workspace(torch.ops.tunemv3d.resnetfc_backward)
def _workspace(g_sdf: Tensor, g_values: Tensor, points: Tensor, *rest: Any) -> int:
    """Return the bytes of a chunk's activations and gradients, and of the sums over them."""
    _, _, weights, *_, dtype = rest
    shape, (b, p) = Shape.of(Weights(*weights), dtype), points.shape[:2]
    kept = _Kept(shape, b, _backward_chunk(shape, b, p), torch.device("meta"))
    held = [z for each in (kept, *kept.products(shape).values()) for z in vars(each).values() if isinstance(z, Tensor)]
    return sum(z.untyped_storage().nbytes() for z in {z.untyped_storage()._cdata: z for z in held}.values())


@register_flop_formula(torch.ops.tunemv3d.resnetfc)  # type: ignore[untyped-decorator]
def _operations(points: Any, directions: Any, aggregated: Any, weights: Any, *_: Any, **__: Any) -> int:
    """Count the products of the weights with each point, of arguments' shapes."""
    w = Weights(*weights)
    matrices = (w.w_in, w.w_latent, w.w0, w.w1, w.w_distance, w.w_value, w.w_out, w.w_agg)
    return int(2 * math.prod(points[:2]) * sum(math.prod(each) for each in matrices))


@register_flop_formula(torch.ops.tunemv3d.resnetfc_backward)  # type: ignore[untyped-decorator]
def _operations_again(g_sdf: Any, g_values: Any, *arguments: Any, **__: Any) -> int:
    """Count those of the forward pass, done again, and of the gradients of activations and weights."""
    return 3 * int(_operations(*arguments))


class _Products:
    """Sums over points of gradients' products with a layer's inputs, and of the gradients themselves.

    Attributes:
        weight: ``b s l g i``, of s programs for each object and layer.
        bias: ``b s l g``.
    """

    def __init__(self, gradients: Tensor, inputs: Tensor) -> None:
        """Begin with zero for gradients ``l b c g`` and inputs ``l b c i``, or ``1 b c i`` for all layers."""
        self.layers, self.b, _, g = gradients.shape
        size = (self.b, triton.cdiv(WEIGHT_PROGRAMS, self.b * self.layers), self.layers, g)
        self.weight = torch.zeros(*size, inputs.shape[-1], device=gradients.device)
        self.bias = torch.zeros(size, device=gradients.device)
        self._gradients, self._inputs = gradients, inputs

    def add(self, precision: str) -> None:
        """Add those of the chunk that the gradients and inputs hold now."""
        gradients, inputs = self._gradients, self._inputs
        _, splits, _, g, i = self.weight.shape
        large = g * i > 128 * 128
        rows = 32 if gradients.dtype == torch.float32 else 64 if large else 128
        chunk = gradients.shape[2]
        kernels.weight_gradients[self.layers, splits, self.b](
            gradients, inputs, self.weight, self.bias,
            chunk, gradients.stride(0), inputs.stride(0) if inputs.shape[0] > 1 else 0,
            G=g, INPUTS=i, STEPS=triton.cdiv(triton.cdiv(chunk, rows), splits), M=rows, PRECISION=precision,
            num_warps=8 if large else 4,
        )  # fmt: skip


class _Evaluation:
    """The network at points of rays.

    Args:
        shape: of the network.
        packed: its weights.
        points: ``b p 3``.
        directions: ``b r 3``.
        aggregated: ``b p a``.
        sphere: omega, initial radius and radius, as ``resnetfc`` takes them.
    """

    def __init__(
        self,
        shape: Shape,
        packed: Packed,
        points: Tensor,
        directions: Tensor,
        aggregated: Tensor,
        sphere: tuple[float, float, float],
    ) -> None:
        self.shape, self.packed = shape, packed
        self.points, self.directions, self.aggregated = (z.contiguous() for z in (points, directions, aggregated))
        self.b, self.p = points.shape[:2]
        omega, initial_radius, radius = sphere
        self.sphere = omega / (2 * math.pi), initial_radius, radius

    def forward(
        self, sdf: Tensor, values: Tensor, start: int = 0, chunk: int | None = None, kept: _Kept | None = None
    ) -> None:
        """Write distances and values; or, for ``chunk`` points from ``start`` on, what ``kept`` has of activations."""
        shape, chunk = self.shape, self.p if chunk is None else chunk
        launch, rays = shape.launch(keeps=kept is not None), self.directions.shape[1]
        g_out, inputs, activations, value_activations, flags = (
            (kept.g_out, kept.inputs, kept.activations, kept.value_activations, kept.flags)
            if kept
            else (self.points,) * 5
        )
        kernels.forward[triton.cdiv(chunk, launch["M"]), self.b](
            self.points, self.directions, self.aggregated, g_out, *self.packed,
            sdf, values, inputs, activations, value_activations, flags,
            self.p, start, chunk, rays, self.p // rays if rays else 1, *self.sphere,
            self.b * chunk * shape.hidden if kept else 0,
            **launch, FREQUENCIES=shape.frequencies, E=shape.encoded, INPUTS=shape.inputs, KEEP=kept is not None,
        )  # fmt: skip

    def backward(self, g_sdf: Tensor, g_values: Tensor, weights: Weights) -> list[Tensor]:
        """Return the gradients of the aggregated features and the weights; arguments as for ``resnetfc_backward``."""
        shape, chunk = self.shape, _backward_chunk(self.shape, self.b, self.p)
        kept = _Kept(shape, self.b, chunk, self.points.device)
        g_aggregated = torch.empty_like(self.aggregated)
        products = kept.products(shape)
        for start in range(0, self.p, chunk):
            stop = min(start + chunk, self.p)
            kept.g_out[:, : stop - start, 0] = g_sdf[:, start:stop]
            kept.g_out[:, : stop - start, 1 : 1 + shape.values] = g_values[:, start:stop]
            self.forward(g_sdf, g_values, start, chunk, kept)
            self._activation_gradients(g_aggregated, start, chunk, kept)
            for each in products.values():
                each.add(shape.precision)
        return [g_aggregated, *_collected(shape, weights, products)]

    def _activation_gradients(self, g_aggregated: Tensor, start: int, chunk: int, kept: _Kept) -> None:
        launch, w = self.shape.launch(keeps=True), self.packed
        kernels.activation_gradients[triton.cdiv(chunk, launch["M"]), self.b](
            kept.g_out, w.w_latent, w.w_share, w.w0, w.w1, w.w_distance, w.w_value, w.w_out, w.w_agg, w.w_agg_share,
            kept.activations, kept.value_activations, kept.flags, kept.gradients, g_aggregated,
            self.p, start, chunk, self.b * chunk * self.shape.hidden, **launch,
        )  # fmt: skip


def _collected(shape: Shape, weights: Weights, products: dict[str, _Products]) -> list[Tensor]:
    """Pick the weights' gradients from sums of products.

    Layers of "blocks" are the second layers of the blocks, the first ones, and the heads; columns of the inputs are
    aggregated features, encoded points, directions and, last of their power of two, the share of views; rows of the
    heads' gradients are the values' first layer, the distance, the values.
    """
    blocks, half, encoded = shape.blocks, shape.hidden // 2, shape.features
    sums = {name: z.weight.sum((0, 1)) for name, z in products.items()}
    of_blocks, of_inputs, of_heads = sums["blocks"], sums["inputs"], sums["heads"][0]
    bias_in, bias = products["inputs"].bias.sum(1), products["blocks"].bias.sum(1)
    means, share = shape.aggregated - 1, encoded + shape.encoded - 1

    def of_aggregated(products: Tensor) -> Tensor:
        return torch.cat([products[..., :means], products[..., share : share + 1]], dim=-1)

    directions = slice(encoded + 3 + 6 * shape.frequencies, encoded + 6 + 6 * shape.frequencies)
    found = Weights(
        w_in=of_inputs[0, :, encoded : encoded + weights.w_in.shape[1]],
        bias_x=torch.cat([bias_in[:, :1], bias[:, :blocks]], dim=1).sum(0),
        w_latent=of_aggregated(of_inputs),
        w0=of_blocks[blocks : 2 * blocks],
        bias_y=bias[:, blocks : 2 * blocks],
        w1=of_blocks[:blocks],
        w_distance=of_blocks[-1, half],
        w_value=of_blocks[-1, :half],
        b_value=bias[:, -1, :half].sum(0),
        w_direction=of_heads[:half, directions],
        w_out=sums["out"][0, half + 1 : half + 1 + shape.values],
        w_agg=of_aggregated(of_heads[half : half + weights.w_agg.shape[0]]),
    )
    # Results of an operator may share no memory.
    return [z.clone(memory_format=torch.contiguous_format) for z in found]
