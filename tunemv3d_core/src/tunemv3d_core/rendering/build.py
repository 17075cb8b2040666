"""Parts of every field's ``build``: ports from the neighbours, the aggregator from its options."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.errors import PortsError
from tunemv3d_core.ports import BuildContext, FieldPorts, Gives, Neighbours
from tunemv3d_core.rendering.spec import RayFieldSpec
from tunemv3d_core.slots import Aggregator

S = TypeVar("S", bound=RayFieldSpec)
F = TypeVar("F", bound=nn.Module)


def field_ports(
    name: str, neighbours: Neighbours, gives: Gives = "latents", values: int | None = None, novel_views: bool = True
) -> FieldPorts:
    """Make the ports of a field that takes the view encoder's features.

    Args:
        name: the field's, for the message.
        neighbours: those built before it.
        gives: what it renders.
        values: channels of that; None stands for the backbone's latent channels.
        novel_views: whether it renders cameras that it did not see.

    Raises:
        PortsError: there is no view encoder.
    """
    if neighbours.view_encoder is None:
        raise PortsError(f"field '{name}' needs features: the model has no view_encoder")
    values = neighbours.backbone.latent_channels if values is None else values
    return FieldPorts(neighbours.view_encoder.features, gives, values, novel_views)


def build_field(
    field: Callable[[S, FieldPorts, Aggregator], F],
    spec: S,
    aggregator: ComponentSpec,
    neighbours: Neighbours,
    context: BuildContext,
) -> F:
    """Build a field for the view encoder's features and the backbone's latents. Its parameters stay float32.

    Args:
        field: its class, made of its options, ports and aggregator.
        spec: its options.
        aggregator: those of its aggregator.
        neighbours: the ports of the components built before it.
        context: where it is built.

    Raises:
        PortsError: there is no view encoder.
    """
    ports = field_ports(spec.type, neighbours, spec.gives, spec.values)
    built: Aggregator = build_component("aggregator", aggregator, ports.features)
    return field(spec, ports, built).to(context.device)
