"""Assembly of a model from its typed spec: build each component, and refuse neighbours that do not fit."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tunemv3d_core.config.component_fields import parts_of
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import ModelSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, PortsError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.plugins.descriptor import MODEL_SLOTS
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.ports import BuildContext, Neighbours


def build_component(slot: str, spec: ComponentSpec, *arguments: Any) -> Any:
    """Build one component: import its module, call its build function with the spec and what the slot passes on."""
    build = registry().get(slot, spec.type).load_build()
    try:
        return build(spec, *arguments)
    except (MemoryError, RuntimeError, OverflowError) as error:
        if not _is_lack_of_memory(error):
            raise
        reason = shown(" ".join(str(error).split()), 200)
        raise ComponentError(
            f"{slot} '{spec.type}': its sizes need more memory than there is ({reason}); choose smaller ones"
        ) from error


def _is_lack_of_memory(error: Exception) -> bool:
    """Tell whether an error is of too large sizes: torch has no class for those of the CPU."""
    words = ("can't allocate memory", "not enough memory", "out of memory", "Storage size calculation overflowed")
    large = isinstance(error, MemoryError | OverflowError)
    return large or any(word in str(error) for word in (*words, "numel: integer multiplication overflow"))


def assemble(
    spec: ModelSpec, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, weights: bool = True
) -> MultiviewDiffusion:
    """Build every component of a model in order and check that neighbours fit.

    Args:
        spec: the components.
        device: of the parameters.
        dtype: of the parameters.
        weights: whether weights are read (``BuildContext.weights``).

    Raises:
        ComponentError: a component is not installed or is broken.
        PortsError: two components do not fit; names both and what each offers or needs.
    """
    context = BuildContext(torch.device(device), dtype, weights=weights)
    modules: dict[str, nn.Module] = {}
    names: dict[str, str] = {}
    neighbours: Any = None
    for slot in MODEL_SLOTS:
        part: ComponentSpec | None = getattr(spec, slot)
        if part is None:
            continue
        module = build_component(slot, part, neighbours, context).to(device)
        modules[slot], names[slot] = module, part.type
        if slot == "backbone":
            neighbours = Neighbours(backbone=module.ports)
            context = replace(context, backbone=module)
        else:
            check_ports(slot, module.ports, neighbours, names)
        if slot in ("view_encoder", "field", "lifter"):
            neighbours = replace(neighbours, **{slot: module.ports})
    components = {place: options for place, _, options in parts_of(spec)}
    return MultiviewDiffusion(**modules, components=components)


def check_ports(slot: str, ports: Any, neighbours: Neighbours, names: dict[str, str]) -> None:
    """Compare what a component needs with what those before it offer.

    Raises:
        PortsError: they differ.
    """

    def compare(needs: Any, other: str, offers: Any, what: str) -> None:
        if needs != offers:
            raise PortsError(
                f"{slot} '{names[slot]}' takes {what} {_in_words(needs)}, "
                f"but {other} '{names[other]}' gives {_in_words(offers)}: choose components or sizes that agree"
            )

    if slot == "field" and neighbours.view_encoder is not None:
        compare(ports.features, "view_encoder", neighbours.view_encoder.features, "feature channels")
        if ports.gives == "latents":
            compare(ports.values, "backbone", neighbours.backbone.latent_channels, "latent channels")
    if slot == "lifter" and neighbours.field is not None:
        compare(ports.takes, "field", neighbours.field.gives, "values of kind")
        compare(ports.values, "field", neighbours.field.values, "value channels")
    if slot == "injector" and neighbours.lifter is not None:
        compare(ports.maps, "lifter", neighbours.lifter.maps, "maps")
        compare(ports.residuals, "backbone", neighbours.backbone.residuals, "residuals of shapes")


def _in_words(value: Any) -> str:
    """Write ports in words: maps as ``13 maps: 64/1 64/1 96/2`` (channels / stride)."""
    if isinstance(value, tuple):
        return f"{len(value)} maps: " + " ".join(f"{m.channels}/{m.stride}" for m in value)
    return repr(value)
