"""The component that is checked, built among stand-ins."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.errors import describe_errors
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SpecError
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.plugins.discovery import EntryPointRecord
from tunemv3d_core.plugins.registry import load_value, registry
from tunemv3d_core.ports import BuildContext, FieldPorts, LifterPorts, Neighbours, ViewEncoderPorts
from tunemv3d_core.slots import Backbone, Dataset
from tunemv3d_core.testing import stand_ins
from tunemv3d_core.testing.batches import Batch, Channels, Size, draw
from tunemv3d_core.testing.seeding import seed_all

FEATURE_VALUES = 6
"""Channels of rendered features, where a lifter takes those."""


class ComponentUnderTest:
    """A component by slot and name, and the options that it is checked with.

    Args:
        slot: its slot.
        name: its name.
        given: options over its defaults.
        device: device on which it is built and called.
    """

    def __init__(self, slot: str, name: str, given: dict[str, Any], device: str = "cpu") -> None:
        self.slot, self.name, self.given, self.device = slot, name, given, torch.device(device)
        self.kind: type | None = None  # class of what was built last
        self.changed: set[tuple[str, str, str]] = set()  # settings of torch: function, before, after
        self.kept: dict[str, Any] = {}  # what checks made of it for others
        self.printed: list[str] = []  # what it wrote to the standard output, whichever check called it

    @cached_property
    def record(self) -> EntryPointRecord:
        """Entry point of the component, from metadata."""
        return registry().find(self.slot, self.name)

    @cached_property
    def plugin(self) -> ComponentPlugin:
        """Descriptor of the component, unchecked: what the registry would refuse is for the checks to find."""
        return cast(ComponentPlugin, load_value(self.record.value))

    @cached_property
    def spec(self) -> Any:
        """Options of the component: defaults, overridden by those given.

        Raises:
            SpecError: an option without default is missing, or a given one is invalid.
        """
        content = {"type": self.record.name, **self.given}
        model: type[BaseModel] = self.plugin.spec
        try:
            return model.model_validate(content)
        except ValidationError as error:
            problems = "; ".join(describe_errors(error, model, content))
            raise SpecError(
                f"{self.slot} '{self.name}' cannot be built from its defaults and {self.given}: {problems}. "
                "Give the options that it needs: spec={...} in a test, --spec '{...}' in a shell"
            ) from None

    @cached_property
    def dataset(self) -> Dataset:
        """Dataset, opened once: opening may take long."""
        return self.opened()

    def opened(self) -> Dataset:
        """Open a dataset anew, and keep its class in ``kind``."""
        dataset: Dataset = self.made()
        return dataset

    def made(self, *arguments: Any) -> Any:
        """Build one of a slot without neighbours anew from its options and what the slot passes on."""
        made = load_value(self.plugin.build)(self.spec, *arguments)
        self.kind = type(made)
        return made

    def built(self, dtype: torch.dtype = torch.float32, seed: int = 0, stride: int = 1) -> "Built":
        """Build it anew among stand-ins, and keep its class in ``kind``.

        Args:
            dtype: type of all parameters.
            seed: seed of its random initialisation, not of the stand-ins'.
            stride: stride of the view encoder before it.
        """
        built = self._build(dtype, seed, stride)
        self.kind = type(built.module)
        return built

    def stand_in_backbone(self, dtype: torch.dtype = torch.float32) -> stand_ins.StandInBackbone:
        """Make the frozen model beside which it is built, with the same weights at every call."""
        seed_all(0)
        return stand_ins.StandInBackbone().to(self.device, dtype)

    def _build(self, dtype: torch.dtype, seed: int, stride: int) -> "Built":
        backbone: Any = None if self.slot == "backbone" else self.stand_in_backbone(dtype)
        seed_all(seed)
        build = load_value(self.plugin.build)
        if self.slot == "aggregator":
            module = build(self.spec, stand_ins.FEATURES).to(self.device)
            return Built(self.slot, module, backbone, self._neighbours(backbone, stride), self.device)
        context = BuildContext(self.device, dtype, backbone)
        if self.slot == "loss":
            return Built(self.slot, build(self.spec, context), backbone, Neighbours(backbone.ports), self.device)
        if self.slot == "backbone":
            module = build(self.spec, None, context).to(self.device)
            return Built(self.slot, module, module, Neighbours(module.ports), self.device)
        neighbours = self._neighbours(backbone, stride)
        module = build(self.spec, neighbours, context)
        if self.slot == "lifter" and module.ports.takes == "features":
            field = FieldPorts(stand_ins.FEATURES, "features", FEATURE_VALUES)
            neighbours = replace(neighbours, field=field)
            seed_all(seed)
            module = build(self.spec, neighbours, context)
        return Built(self.slot, module.to(self.device), backbone, neighbours, self.device)

    def _neighbours(self, backbone: Backbone, stride: int) -> Neighbours:
        """Return the ports before the slot, as ``assemble`` would give them; an aggregator has those of a field."""
        latents = backbone.ports.latent_channels
        before = {
            "view_encoder": ViewEncoderPorts(stand_ins.FEATURES, stride),
            "field": FieldPorts(stand_ins.FEATURES, "latents", latents),
            "lifter": LifterPorts("latents", latents, backbone.ports.residuals),
        }
        order = ("view_encoder", "field", "lifter", "injector")
        place = order.index("field" if self.slot == "aggregator" else self.slot)
        given: dict[str, Any] = {slot: before[slot] for slot in order[:place]}
        return Neighbours(backbone.ports, **given)


@dataclass(frozen=True)
class Built:
    """A built component with its neighbours.

    Attributes:
        slot: its slot.
        module: the component.
        backbone: the stand-in, or the component itself.
        neighbours: ports of those before it.
        device: device of the component, and of the inputs drawn for it.
    """

    slot: str
    module: Any
    backbone: Any
    neighbours: Neighbours
    device: torch.device

    def batch(self, size: Size | None = None, seed: int = 0, dtype: torch.dtype = torch.float32) -> Batch:
        """Draw inputs that fit it."""
        before = self.neighbours
        field, lifter = before.field, before.lifter
        channels = Channels(
            features=before.view_encoder.features if before.view_encoder else stand_ins.FEATURES,
            values=field.values if field else self.backbone.ports.latent_channels,
            maps=lifter.maps if lifter else self.backbone.ports.residuals,
            stride=before.view_encoder.stride if before.view_encoder else 1,
        )
        return draw(self.backbone, channels, size or Size(), seed, dtype).to(self.device)

    def system(self) -> MultiviewDiffusion:
        """Assemble a whole model with stand-ins in the other slots."""
        ports = self.backbone.ports
        parts: dict[str, Any] = {"backbone": self.backbone, self.slot: self.module}
        aggregator = parts.pop("aggregator", None)
        parts.pop("loss", None)
        encoder = parts.setdefault("view_encoder", stand_ins.StandInViewEncoder(ports))
        takes = self.module.ports if self.slot == "lifter" else LifterPorts("latents", ports.latent_channels, ())
        described = FieldPorts(encoder.ports.features, takes.takes, takes.values)
        field = parts.setdefault("field", stand_ins.StandInField(described, aggregator))
        lifter = parts.setdefault("lifter", stand_ins.StandInLifter(ports, field.ports))
        parts.setdefault("injector", stand_ins.StandInInjector(lifter.ports.maps, ports.residuals))
        types = dict.fromkeys(parts, "stand-in") | {self.slot: "checked"}
        components = {k: ComponentSpec(type=v) for k, v in types.items()}
        return MultiviewDiffusion(**parts, components=components).to(self.device)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that training changes, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def randomize_zero_init(module: nn.Module, std: float = 0.1) -> None:
    """Give every trainable parameter that starts at zero a random value, so that every path matters."""
    with torch.no_grad():
        for parameter in trainable(module).values():
            if not bool(parameter.any()):
                parameter.normal_(std=std)


def awake(component: ComponentUnderTest, std: float = 0.1) -> Built:
    """Build it in evaluation mode, with no parameter at zero."""
    built = component.built()
    randomize_zero_init(built.module, std)
    built.module.eval()
    return built
