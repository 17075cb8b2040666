"""Calls of a component of each slot, the output shapes that its ports promise, and a loss on the outputs."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.shapes import check_shape
from tunemv3d_core.testing.batches import PIXELS, POINTS, Batch, Size
from tunemv3d_core.testing.component import Built
from tunemv3d_core.types import Rendering


@dataclass(frozen=True)
class Outputs:
    """Outputs of a component by name.

    Attributes:
        per_view: ``b n ...``, one per input view.
        shared: ``b ...``, which no order of the input views may change.
        losses: losses of the scene.
    """

    per_view: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)

    def all(self) -> dict[str, Tensor]:
        """Return all outputs except the losses."""
        return self.per_view | self.shared


def call(built: Built, batch: Batch, losses: bool = False, novel: bool = True) -> Outputs:
    """Run the component on the inputs of its slot; for a field, also render novel views and compute losses if asked."""
    module, slot = built.module, built.slot
    if slot == "view_encoder":
        foreground_x0 = (batch.foreground_x0,) if module.ports.foreground_x0 else ()
        return Outputs({"features": module(batch.x_t, batch.t, batch.text, batch.cameras, *foreground_x0)})
    if slot == "field":
        return _call_field(module, batch, losses, novel)
    if slot == "lifter":
        return Outputs(_views("map", module(batch.values, batch.x_t, batch.t, batch.text), batch.size))
    if slot == "injector":
        with torch.no_grad():
            skips = built.backbone.encode(batch.x_t, batch.t, batch.text)
        return Outputs(_views("residual", module(_flat(batch.maps), skips), batch.size))
    if slot == "aggregator":
        return Outputs(shared={"aggregated": module(batch.features, batch.cameras, batch.points)})
    skips = module.encode(batch.x_t, batch.t, batch.text)
    prediction = module.decode(skips, _flat(batch.maps), batch.t, batch.text)
    return Outputs({**_views("skip", skips.maps, batch.size), "prediction": prediction})


def _call_field(module: Any, batch: Batch, losses: bool, novel: bool) -> Outputs:
    size = (batch.size.h, batch.size.w)
    scene = module.fuse(batch.features, batch.cameras, batch.t.amax(1))
    shared: dict[str, Tensor] = {}
    if novel and module.ports.novel_views:
        shared |= _rendered("novel ", scene.render(batch.novel, size))
        shared |= _rendered("pixels' ", scene.render(batch.novel, size, batch.pixels))
    return Outputs(_rendered("", scene.render(batch.cameras, size)), shared, scene.losses() if losses else {})


def _rendered(whose: str, seen: Rendering) -> dict[str, Tensor]:
    return {f"{whose}values": seen.values, f"{whose}opacity": seen.opacity, f"{whose}depth": seen.depth}


def _views(what: str, maps: tuple[Tensor, ...], size: Size) -> dict[str, Tensor]:
    """Unflatten L maps ``(b n) c h w`` to ``b n c h w``."""
    for k, each in enumerate(maps):
        check_shape(f"{what} {k}", each, "bn c h w", bn=size.b * size.n)
    return {f"{what} {k}": torch.unflatten(each, 0, (size.b, size.n)) for k, each in enumerate(maps)}


def _flat(maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.flatten(0, 1) for each in maps)


def promised(built: Built, size: Size) -> dict[str, tuple[int, ...]]:
    """Return the shapes of ``call``'s outputs that the component's ports promise."""
    b, n, m, h, w = size.b, size.n, size.m, size.h, size.w
    slot = built.slot
    if slot == "aggregator":
        return {"aggregated": (b, POINTS, built.module.channels)}
    ports = built.module.ports
    if slot == "view_encoder":
        return {"features": (b, n, ports.features, -(-h // ports.stride), -(-w // ports.stride))}
    if slot == "field":
        grids: dict[str, tuple[int, ...]] = {"": (n, h, w)}
        if ports.novel_views:
            grids |= {"novel ": (m, h, w), "pixels' ": (m, PIXELS)}
        values = {f"{k}values": (b, grid[0], ports.values, *grid[1:]) for k, grid in grids.items()}
        return values | {f"{k}{what}": (b, *grid) for k, grid in grids.items() for what in ("opacity", "depth")}
    what, maps = {
        "lifter": ("map", getattr(ports, "maps", ())),
        "injector": ("residual", getattr(ports, "residuals", ())),
        "backbone": ("skip", getattr(ports, "residuals", ())),
    }[slot]
    shapes = {f"{what} {k}": (b, n, p.channels, -(-h // p.stride), -(-w // p.stride)) for k, p in enumerate(maps)}
    return shapes | ({"prediction": (b, n, ports.latent_channels, h, w)} if slot == "backbone" else {})


class TrainingProbe(nn.Module):
    """One training step of a component alone: from a batch to a loss on all its outputs.

    Every output is pulled towards fixed random numbers, so that every parameter gets a gradient.

    Args:
        built: the component.
        novel: whether a field renders novel views too.
    """

    def __init__(self, built: Built, novel: bool = True) -> None:
        super().__init__()
        self.built, self.novel = built, novel
        self.module = built.module

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar."""
        outputs = call(self.built, batch, losses=True, novel=self.novel)
        wanted = {name: output for name, output in outputs.all().items() if "depth" not in name}
        errors = [(output.float() - _target(output)).square().mean() for output in wanted.values()]
        return torch.stack([*errors, *(loss.float() for loss in outputs.losses.values())]).sum()


def _target(output: Tensor) -> Tensor:
    """Return fixed numbers of an output's shape that look random, from -1 to 1."""
    numbers = torch.arange(output.numel(), device=output.device, dtype=torch.float32)
    return torch.sin(numbers * 12.9898).reshape(output.shape)
