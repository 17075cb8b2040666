"""The field's network in float64, written down from the paper's B.1 layer by layer: what fused kernels must equal."""

import torch
from torch import Tensor

from tunemv3d_core.ports import FieldPorts
from tunemv3d_neus.aggregator import MeanVariance
from tunemv3d_neus.network import INITIAL_RADIUS, NeuSNetwork
from tunemv3d_neus.spec import MeanVarianceSpec, NeuSSpec


def random_network(features: int, values: int, **options: object) -> NeuSNetwork:
    """Return a network none of whose layers is zero."""
    spec = NeuSSpec(type="neus", aggregator=MeanVarianceSpec(type="mean-variance"), **options)  # type: ignore[arg-type]
    ports = FieldPorts(features=features, gives="latents", values=values)
    network = NeuSNetwork(spec, MeanVariance(features).channels, ports.values)
    with torch.no_grad():
        for weight in network.parameters():
            scale = weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0.1
            weight.copy_(torch.randn_like(weight) * scale)
    return network


def query(
    network: NeuSNetwork,
    weights: dict[str, Tensor],
    points: Tensor,
    directions: Tensor,
    aggregated: Tensor,
    time: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return distances ``b p`` and values ``b p v`` by float64 ``weights`` of the network's names."""

    def linear(x: Tensor, name: str) -> Tensor:
        y = x @ weights[f"{name}.weight"].T
        return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y

    def softplus(x: Tensor) -> Tensor:
        return torch.logaddexp(100 * x, torch.zeros_like(x)) / 100

    samples = points.shape[1] // max(1, directions.shape[1])
    along = directions.repeat_interleave(samples, dim=1) if directions.shape[1] else torch.zeros_like(points)
    waves = [f(points * network.omega * 2.0**k) for k in range(network.frequencies) for f in (torch.sin, torch.cos)]
    encoded = torch.cat([points, *waves, *([along] if network.directed else [])], dim=-1)
    x = linear(encoded, "fc_in")
    latents = linear(aggregated, "latent").chunk(network.latent_blocks, dim=-1)
    for k in range(len(network.blocks)):
        if k < network.latent_blocks:
            x = x + latents[k]
        inner = softplus(linear(softplus(x), f"blocks.{k}.fc0") + time[:, k, None])
        x = x + linear(inner, f"blocks.{k}.fc1")
    hidden = softplus(x)
    sdf = points.norm(dim=-1) - INITIAL_RADIUS + linear(hidden, "distance")[..., 0]
    head = linear(hidden, "value_in")
    if network.value_direction is not None:
        head = head + linear(along, "value_direction")
    values = linear(softplus(head), "value_out")
    if network.distance_agg is not None:
        sdf, values = sdf + linear(aggregated, "distance_agg")[..., 0], values + linear(aggregated, "value_agg")
    return sdf, values


def plain_query(
    network: NeuSNetwork, points: Tensor, directions: Tensor, aggregated: Tensor, time: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the plain layers give: distances ``b p`` and values ``b p v``."""
    rays = directions.shape[1]
    along = directions.repeat_interleave(points.shape[1] // rays, dim=1)
    hidden = network.trunk(points, along, aggregated, time)
    by_ray = (torch.unflatten(z, 1, (rays, -1)) for z in (hidden, aggregated))
    return network.signed_distance(points, hidden, aggregated), network.values(*by_ray, directions).flatten(1, 2)


def errors(
    device: str, dtype: torch.dtype, rays: int = 9, samples: int = 7, fused: bool = True, **options: object
) -> dict[str, float]:
    """Compare fused kernels, or the plain layers, with float64: values and all gradients of a random loss.

    Args:
        device: of the network.
        dtype: of the products' operands.
        rays: of each object.
        samples: on each ray.
        fused: whether the kernels are compared.
        options: of ``random_network``.

    Returns:
        Norms of differences, relative to the norms of what they should be.
    """
    from tunemv3d_neus.fused_network import fused_distance, fused_query

    torch.manual_seed(0)
    b, features, values = 2, int(options.pop("features", 8)), int(options.pop("values", 3))  # type: ignore[call-overload]
    network = random_network(features, values, **options).to(device)
    points = torch.nn.functional.normalize(torch.randn(b, rays * samples, 3), dim=-1)
    points = (points * torch.rand(b, rays * samples, 1)).to(device)
    directions = torch.nn.functional.normalize(torch.randn(b, rays, 3), dim=-1).to(device)
    aggregated = torch.randn(b, rays * samples, network.latent.in_features, device=device, requires_grad=True)
    time = network.embed(torch.tensor([3.0, 700.0], device=device)).detach().requires_grad_()
    weigh = [torch.randn(b, rays * samples, *size, device=device) for size in ((), (values,))]
    for weight in weigh:
        weight[:, : rays * samples // 2] = 0  # whole tiles without a gradient

    exact = {name: z.detach().double().requires_grad_() for name, z in network.named_parameters()}
    exact_inputs = [z.detach().double().requires_grad_() for z in (aggregated, time)]
    want = query(network, exact, points.double(), directions.double(), *exact_inputs)
    sum((z * w.double()).sum() for z, w in zip(want, weigh, strict=True)).backward()
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        if fused:
            got = fused_query(network, points, directions, aggregated, time, radius=2.0)
            alone = fused_distance(network, points, aggregated, time)
        else:
            got = plain_query(network, points, directions, aggregated, time)
            alone = got[0]
    sum((z * w).sum() for z, w in zip(got, weigh, strict=True)).backward()

    def error(of: Tensor, like: Tensor) -> float:
        return float((of.detach().double() - like.detach()).norm() / like.detach().norm())

    sphere = points.norm(dim=-1)
    told = {"sdf": error(got[0] - sphere, want[0] - sphere), "values": error(got[1], want[1])}
    if not network.directed:
        told["sdf alone"] = error(alone - sphere, want[0] - sphere)
    told |= {"aggregated": error(aggregated.grad, exact_inputs[0].grad), "t": error(time.grad, exact_inputs[1].grad)}
    named = {name: z.grad for name, z in network.named_parameters() if not name.startswith("time.")}
    return told | {name: error(grad, exact[name].grad) for name, grad in named.items()}  # type: ignore[arg-type]
