"""The field's network in fused kernels, where the device has them."""

from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import pad

from tunemv3d_core.planned import kernels_planned
from tunemv3d_neus.kernels.availability import takes_kernels
from tunemv3d_neus.network import INITIAL_RADIUS, NeuSNetwork, ResnetBlock

WIDTHS = (32, 64, 128)
"""Widths that the kernels are made for; a wider tile would not fit into registers."""

MOST_VALUES, MOST_AGGREGATED = 15, 129
"""Most values and aggregated channels that they take."""


def is_fused(network: NeuSNetwork, device: torch.device) -> bool:
    """Return whether the kernels evaluate a network, and not its plain layers, in the precision of this context."""
    return (
        takes_kernels(device)
        and network.fc_in.weight.dtype == torch.float32
        and network.fc_in.out_features in WIDTHS
        and network.value_out.out_features <= MOST_VALUES
        and network.latent.in_features <= MOST_AGGREGATED
        and (kernels_planned() is not None or _runs(network, device))
    )


def fused_query(
    network: NeuSNetwork, points: Tensor, directions: Tensor, aggregated: Tensor, time: Tensor, radius: float
) -> tuple[Tensor, Tensor]:
    """Return signed distances ``b p`` and values ``b p v``, float32; products are in autocast's dtype.

    Args:
        network: one that ``is_fused``.
        points: ``b p 3``, world units, float32; they get no gradient.
        directions: ``b r 3``, unit, of rays with p / r points each.
        aggregated: ``b p a``.
        time: ``embed``'s ``b k hidden``.
        radius: of the sphere that holds the object. Points outside may be given the first sphere's distance.
    """
    from tunemv3d_neus.kernels.resnetfc import resnetfc

    weights, dtype = _weights(network, time, values=True), _dtype()
    sdf, values = resnetfc(points, directions, aggregated, weights, network.omega, INITIAL_RADIUS, radius, dtype)
    return sdf + network.distance.bias, values + network.value_out.bias


def fused_distance(network: NeuSNetwork, points: Tensor, aggregated: Tensor, time: Tensor) -> Tensor:
    """Return signed distances ``b p`` everywhere; arguments as for ``fused_query``."""
    from tunemv3d_neus.kernels.resnetfc import resnetfc

    weights, dtype = _weights(network, time, values=False), _dtype()
    no_rays, everywhere = points.new_empty(points.shape[0], 0, 3), float("inf")
    sdf, _ = resnetfc(points, no_rays, aggregated, weights, network.omega, INITIAL_RADIUS, everywhere, dtype)
    distance: Tensor = sdf + network.distance.bias
    return distance


def _dtype() -> torch.dtype:
    return torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else torch.float32


def _runs(network: NeuSNetwork, device: torch.device) -> bool:
    from tunemv3d_neus.kernels.probes import resnetfc_runs
    from tunemv3d_neus.kernels.resnetfc_weights import Shape

    shape = Shape(
        blocks=len(network.blocks),
        latent_blocks=network.latent_blocks,
        frequencies=network.frequencies,
        values=network.value_out.out_features,
        aggregated=network.latent.in_features,
        hidden=network.fc_in.out_features,
        dtype=_dtype(),
    )
    return resnetfc_runs(device, shape)


def _weights(network: NeuSNetwork, time: Tensor, values: bool) -> list[Tensor]:
    """Return ``Weights`` of a network; without values its last layers have no rows."""
    n, blocks = network, [cast(ResnetBlock, block) for block in network.blocks]
    width, latents = n.fc_in.out_features, n.latent_blocks
    count = n.value_out.out_features if values else 0
    of_directions = 0 if n.directed else 3
    bias_after = torch.stack([n.fc_in.bias, *(block.fc1.bias for block in blocks)])
    latent_bias = pad(n.latent.bias.view(latents, width), (0, 0, 0, len(blocks) + 1 - latents))
    value_direction = n.fc_in.weight.new_zeros(width // 2, 3) if n.value_direction is None else n.value_direction.weight
    if n.distance_agg is None or n.value_agg is None:
        w_agg = n.fc_in.weight.new_zeros(1 + count, n.latent.in_features)
    else:
        w_agg = torch.cat([n.distance_agg.weight, n.value_agg.weight[:count]])
    return [
        pad(n.fc_in.weight, (0, of_directions)),
        bias_after + latent_bias,
        n.latent.weight.view(latents, width, -1),
        torch.stack([block.fc0.weight for block in blocks]),
        torch.stack([block.fc0.bias for block in blocks]) + time.float(),
        torch.stack([block.fc1.weight for block in blocks]),
        n.distance.weight[0],
        n.value_in.weight,
        n.value_in.bias,
        value_direction,
        n.value_out.weight[:count],
        w_agg,
    ]
