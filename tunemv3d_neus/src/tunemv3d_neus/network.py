"""The field's network (paper B.1): a ResNetFC over encoded points, aggregated features and the noise level."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level, encode_points
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_neus.spec import NeuSSpec

INITIAL_RADIUS = 0.5
"""Radius of the sphere that the surface starts from, world units."""

SOFTPLUS_BETA = 100.0
"""Beta of every softplus: close to a ReLU, but smooth."""


class NeuSNetwork(nn.Module):
    """Signed distances and values at points.

    By default the trunk sees no view direction, so the surface is the same from everywhere, and aggregated features
    reach distance and value through skip connections too (``*_agg``). Last layers start at zero: the surface is exactly
    a sphere and all latents are zero (white), whatever the features and t. Rendered features start at random: of zero
    ones an injector that is zero as well would never learn.
    """

    def __init__(self, spec: NeuSSpec, aggregated: int, values: int) -> None:
        super().__init__()
        self.frequencies, self.omega = spec.frequencies, spec.omega
        self.latent_blocks = spec.latent_blocks
        hidden = spec.hidden
        self.time = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, spec.blocks * hidden))
        self.directed = spec.directions == "input"
        self.fc_in = nn.Linear(3 + 6 * spec.frequencies + 3 * self.directed, hidden)
        self.latent = nn.Linear(aggregated, spec.latent_blocks * hidden)
        self.blocks = nn.ModuleList(ResnetBlock(hidden) for _ in range(spec.blocks))
        self.distance = zero_init(nn.Linear(hidden, 1))
        self.value_in = nn.Linear(hidden, hidden // 2)
        self.value_direction = None if self.directed else nn.Linear(3, hidden // 2, bias=False)
        value_out = nn.Linear(hidden // 2, values)
        self.value_out = zero_init(value_out) if spec.gives == "latents" else value_out
        skips = spec.skip_features
        self.distance_agg = zero_init(nn.Linear(aggregated, 1, bias=False)) if skips else None
        self.value_agg = zero_init(nn.Linear(aggregated, values, bias=False)) if skips else None

    compiled_methods = ("trunk", "signed_distance", "values")

    def repeated_blocks(self) -> list[nn.Module]:
        """Return none: only the whole is worth compiling (``tunemv3d_core.slots.Compiles``)."""
        return []

    def embed(self, t: Tensor) -> Tensor:
        """Embed the noise level ``b`` as ``b k hidden``, which is added inside each block."""
        width = self.fc_in.out_features
        time: Tensor = self.time(embed_noise_level(t, width))
        return torch.unflatten(time, -1, (-1, width))

    def trunk(self, points: Tensor, directions: Tensor | None, aggregated: Tensor, time: Tensor) -> Tensor:
        """Map points to hidden features ``b p hidden``.

        Args:
            points: ``b p 3``.
            directions: ``b p 3``, unit; None where no ray goes through the points. Seen with ``directions = "input"``.
            aggregated: ``b p a``.
            time: ``embed``'s ``b k hidden``.
        """
        with full_precision(points):
            encoded = torch.cat([points, encode_points(points, self.frequencies, self.omega)], dim=-1)
        if self.directed:
            encoded = torch.cat([encoded, torch.zeros_like(points) if directions is None else directions], dim=-1)
        x = self.fc_in(encoded)
        latents = self.latent(aggregated).chunk(self.latent_blocks, dim=-1)
        for k, block in enumerate(self.blocks):
            if k < self.latent_blocks:
                x = x.add_(latents[k])
            x = block(x, time[:, k, None])
        return softplus(x)

    def signed_distance(self, points: Tensor, hidden: Tensor, aggregated: Tensor) -> Tensor:
        """Return ``b p``, float32, negative inside, of ``b p 3``, the trunk's ``b p hidden`` and ``b p a``."""
        with full_precision(points):
            sphere: Tensor = torch.linalg.vector_norm(points, dim=-1) - INITIAL_RADIUS
            change: Tensor = self.distance(hidden.float())
            if self.distance_agg is not None:
                change = change + self.distance_agg(aggregated.float())
            return sphere + torch.squeeze(change, -1)

    def values(self, hidden: Tensor, aggregated: Tensor, directions: Tensor) -> Tensor:
        """Return ``b r s v`` of the trunk's ``b r s hidden`` and ``b r s a`` along unit directions ``b r 3``."""
        inner = self.value_in(hidden)
        if self.value_direction is not None:
            inner = inner + self.value_direction(directions)[:, :, None]
        values: Tensor = self.value_out(softplus(inner))
        return values if self.value_agg is None else values + self.value_agg(aggregated)


class ResnetBlock(nn.Module):
    """Pre-activation residual block of pixelNeRF; its last layer starts at zero. t is added inside."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.fc0 = nn.Linear(hidden, hidden)
        self.fc1 = zero_init(nn.Linear(hidden, hidden))
        nn.init.kaiming_normal_(self.fc0.weight)
        nn.init.zeros_(self.fc0.bias)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Map ``b p hidden`` and ``b 1 hidden`` to ``b p hidden``."""
        # In their places: no layer keeps its result for the backward pass.
        inner: Tensor = self.fc0(softplus(x)).add_(time)
        added: Tensor = self.fc1(softplus(inner)).add_(x)
        return added


def softplus(x: Tensor) -> Tensor:
    """Compute ``log(1 + exp(beta x)) / beta`` with beta = 100; under autocast it stays in bfloat16."""
    if x.is_cuda:
        with full_precision(x):
            return F.softplus(x, beta=SOFTPLUS_BETA)
    return _Softplus.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class _Softplus(torch.autograd.Function):
    """Softplus for a CPU: over ten times as fast as ``F.softplus``, whose exponentials are mostly subnormal numbers.

    It keeps only its output for the backward pass, which the next layer keeps anyway.
    """

    # Beyond these x, softplus is x or 0 to float32's last bit, and exponentials are cut off here.
    CUT = 20 / SOFTPLUS_BETA

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        with full_precision(x):
            soft = (
                x.clamp(-_Softplus.CUT, _Softplus.CUT).mul_(SOFTPLUS_BETA).exp_().add_(1).log_().mul_(1 / SOFTPLUS_BETA)
            )
            y = torch.maximum(x, soft, out=soft)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        # The derivative sigmoid(beta x) is 1 - exp(-beta y).
        complement = y.clamp(max=_Softplus.CUT).mul_(-SOFTPLUS_BETA).exp_()
        return torch.addcmul(gradients[0], gradients[0], complement, value=-1)
