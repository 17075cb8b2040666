"""Components for the tests of the kit: the stand-ins, which pass it, and copies broken on purpose.

Each breaks one promise; its docstring says how.
"""

import os
from dataclasses import replace
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.errors import CameraError
from tunemv3d_core.ports import BuildContext, FieldPorts, Neighbours
from tunemv3d_core.testing.stand_ins import (
    StandInAggregator,  # noqa: F401
    StandInBackbone,
    StandInField,
    StandInInjector,  # noqa: F401
    StandInScene,
    StandInViewEncoder,
)
from tunemv3d_core.types import Rendering


def _placed(module: nn.Module, context: BuildContext) -> nn.Module:
    return module.to(context.device, context.dtype)


class Backbone(StandInBackbone):
    def __init__(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            super().__init__()


class PicksOtherPictures(Backbone):
    """Pictures come back twice as large as they were."""

    def decode_latents(self, latents: Tensor) -> Tensor:
        return super().decode_latents(latents).repeat_interleave(2, -1)


class NoneIsSpecial(Backbone):
    """Without residuals the prediction is rounded otherwise."""

    def decode(self, skips: Any, residuals: Any, t: Tensor, text: Any) -> Tensor:
        decoded = super().decode(skips, residuals, t, text)
        return decoded if residuals is not None else decoded * (1 + 1e-6)


class OtherForward(Backbone):
    """Its own forward is another model."""

    def forward(self, x_t: Tensor, t: Tensor, text: Any) -> Tensor:
        return self.decode(self.encode(x_t, t, text), None, t, text) + 1e-6


class ViewEncoder(StandInViewEncoder):
    """Calls ``spoil`` on its features."""

    def __init__(self, backbone: Any) -> None:
        super().__init__(backbone)
        self.begin()

    def begin(self) -> None:
        pass

    def forward(self, *given: Any) -> Tensor:
        return self.spoil(super().forward(*given))

    def spoil(self, features: Tensor) -> Tensor:
        return features


class Squeezes(ViewEncoder):
    """A single view loses its axis."""

    def spoil(self, features: Tensor) -> Tensor:
        return features.squeeze(1)


class Widens(ViewEncoder):
    """Gives float32 whatever it is given."""

    def spoil(self, features: Tensor) -> Tensor:
        return features.float()


class NamesNoDevice(ViewEncoder):
    """Makes a tensor without saying where."""

    def spoil(self, features: Tensor) -> Tensor:
        return features * torch.ones(features.shape[-1], dtype=features.dtype)


class Cancels(ViewEncoder):
    """Subtracts numbers that bfloat16 cannot tell apart."""

    def spoil(self, features: Tensor) -> Tensor:
        return (features + 300) - 300


class Wavers(ViewEncoder):
    """Draws random numbers in evaluation."""

    def spoil(self, features: Tensor) -> Tensor:
        return features + 1e-6 * torch.randn_like(features)


class Forgets(ViewEncoder):
    """Keeps a number that is drawn when it is built."""

    def begin(self) -> None:
        self.shift = float(torch.randn(()))

    def spoil(self, features: Tensor) -> Tensor:
        return features + self.shift


class CountsViews(ViewEncoder):
    """What it says of a view depends on the view's place."""

    def spoil(self, features: Tensor) -> Tensor:
        places = torch.arange(features.shape[1], device=features.device).to(features.dtype)
        return features * (1 + places[:, None, None, None])


class MixesObjects(ViewEncoder):
    """Takes the mean over objects off."""

    def spoil(self, features: Tensor) -> Tensor:
        return features - 0.5 * features.mean(0, keepdim=True)


class Idle(ViewEncoder):
    """A parameter that changes nothing."""

    def begin(self) -> None:
        self.idle = nn.Parameter(torch.ones(1))

    def spoil(self, features: Tensor) -> Tensor:
        return features + 0 * self.idle.to(features.dtype)


class CompilesOtherwise(ViewEncoder):
    """Leaves something out where it is compiled."""

    def spoil(self, features: Tensor) -> Tensor:
        return features * 2 if torch.compiler.is_compiling() else features


class DiffersByRank(ViewEncoder):
    """Has other parameters in another process."""

    def begin(self) -> None:
        rank = int(os.environ.get("RANK", "0"))
        self.more = nn.ParameterList(nn.Parameter(torch.ones(1)) for _ in range(1 + rank))

    def spoil(self, features: Tensor) -> Tensor:
        return features * torch.stack([p for p in self.more]).sum().to(features.dtype)


class Field(StandInField):
    """Its scene calls ``rendered``."""

    novel_views = True

    def __init__(self, ports: FieldPorts) -> None:
        super().__init__(replace(ports, novel_views=self.novel_views))

    def fuse(self, *given: Any) -> "Scene":
        return Scene(**vars(super().fuse(*given)))

    def rendered(self, rendering: Rendering, pixels: Tensor | None) -> Rendering:
        return rendering


class Scene(StandInScene):
    def render(self, cameras: Any, size: Any, pixels: Tensor | None = None, normals: bool = False) -> Rendering:
        return self.field.rendered(super().render(cameras, size, pixels, normals), pixels)


class SeenOnly(Field):
    """Renders the cameras that it saw, and says so of others."""

    novel_views = False

    def fuse(self, *given: Any) -> "Scene":
        return SeenScene(**vars(StandInField.fuse(self, *given)))


class SeenScene(Scene):
    def render(self, cameras: Any, *given: Any, **options: Any) -> Rendering:
        if not torch.equal(cameras.camera_to_world, self.cameras.camera_to_world):
            raise CameraError("this field renders only the cameras that it saw: set views.novel to 0")
        return super().render(cameras, *given, **options)


class SaysNoToNovelViews(Field):
    """Says that it renders no cameras that it did not see, and renders them."""

    novel_views = False


class BlursMaps(Field):
    """Maps are not what single pixels are."""

    def rendered(self, rendering: Rendering, pixels: Tensor | None) -> Rendering:
        if pixels is not None:
            return rendering
        return replace(rendering, values=(rendering.values + rendering.values.roll(1, -1)) / 2)


class GoesUphill(Field):
    """Every gradient points the wrong way."""

    def rendered(self, rendering: Rendering, pixels: Tensor | None) -> Rendering:
        values, opacity = (2 * each.detach() - each for each in (rendering.values, rendering.opacity))
        return replace(rendering, values=values, opacity=opacity)


class FieldOfOtherFeatures(Field):
    """Takes other features than the view encoder gives."""

    def __init__(self, ports: FieldPorts) -> None:
        super().__init__(replace(ports, features=ports.features + 1))


class LeavesATensorBehind(ViewEncoder):
    """A tensor that is neither a parameter nor a buffer stays on the CPU when the component moves."""

    def begin(self) -> None:
        self.gains = torch.ones(4, 1, 1)

    def forward(self, x_t: Tensor, t: Tensor, text: Any, cameras: Any) -> Tensor:
        return super().forward(x_t * self.gains, t, text, cameras)


def build_loss(kind: Any, context: BuildContext) -> Any:
    return kind()


def build_backbone(kind: type[nn.Module], neighbours: None, context: BuildContext) -> nn.Module:
    return _placed(kind(), context)


def build_view_encoder(kind: Any, neighbours: Neighbours, context: BuildContext) -> nn.Module:
    return _placed(kind(neighbours.backbone), context)


def build_field(kind: Any, neighbours: Neighbours, context: BuildContext) -> nn.Module:
    assert neighbours.view_encoder is not None
    ports = FieldPorts(neighbours.view_encoder.features, "latents", neighbours.backbone.latent_channels)
    return _placed(kind(ports), context)


def build_lifter(kind: Any, neighbours: Neighbours, context: BuildContext) -> nn.Module:
    if hasattr(kind, "backbone"):  # a class of its own for each, because a module's attributes are its children
        kind = type(kind.__name__, (kind,), {"backbone": context.backbone})
    return _placed(kind(neighbours.backbone, neighbours.field), context)


def build_injector(kind: Any, neighbours: Neighbours, context: BuildContext) -> nn.Module:
    assert neighbours.lifter is not None
    return _placed(kind(neighbours.lifter.maps, neighbours.backbone.residuals), context)


def build(spec: Any, *given: Any) -> Any:
    """The class that the options' ``part`` names, for the slot in ``slot``."""
    if spec.slot == "dataset":
        return import_module("kit_datasets").opened(spec.part)
    if spec.slot in ("metric", "mesher", "mesh_renderer"):
        return getattr(import_module(f"kit_{spec.slot}s"), spec.part)()
    if spec.slot in ("optimizer", "schedule"):
        return getattr(import_module("kit_optimisation"), spec.part)(*given[:1])
    names = (__name__, "kit_subtle_parts", "kit_look_ups", "kit_geometry", "kit_scenes")
    if spec.slot in ("backbone", "injector", "lifter", "loss", "view_encoder"):
        names = (f"kit_{spec.slot}{'es' if spec.slot == 'loss' else 's'}", *names)
    modules = [import_module(name) for name in names]
    kind: Any = next(getattr(module, spec.part) for module in modules if hasattr(module, spec.part))
    if spec.slot == "aggregator":
        module: nn.Module = kind(*given)
        return module
    module = globals()[f"build_{spec.slot}"](kind, *given)
    return module
