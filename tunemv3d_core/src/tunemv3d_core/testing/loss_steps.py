"""Training steps by which losses are asked: of a model of stand-ins, and of discs that a prediction may show."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.cameras import pixel_centres
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import KNOWN_MAPS, NeedsMaps, Prediction, Targets
from tunemv3d_core.testing.batches import PIXELS, Size
from tunemv3d_core.testing.component import ComponentUnderTest
from tunemv3d_core.testing.seeding import seed_all
from tunemv3d_core.types import Rendering

SIZE = Size()

DEPTH = 2.5
"""Depth of all discs, world units."""


def random_step(
    component: ComponentUnderTest, novel: str, seed: int = 4
) -> tuple[MultiviewDiffusion, Prediction, Targets]:
    """Return a model of stand-ins, what it predicts of random latents, and random targets.

    Args:
        component: the loss.
        novel: whether novel views are rendered: "none", "whole" or "at pixels".
        seed: of everything random.
    """
    built = component.built()
    seed_all(seed)
    model, batch = built.system().train(), built.batch(SIZE, seed)
    rendered: dict[str, Any] = {}
    if novel != "none":
        shape = (SIZE.b, SIZE.m, *((SIZE.h, SIZE.w) if novel == "whole" else (PIXELS,)))
        rendered["novel_cameras"] = batch.novel
        rendered["novel_pixels"] = batch.pixels if novel == "at pixels" else None
        rendered["novel_alpha"] = torch.rand(shape, device=built.device)
        rendered["novel_maps"] = _maps(component, torch.rand(shape, device=built.device))
        rendered["novel_latents"] = torch.randn(*shape[:2], batch.x_t.shape[2], *shape[2:], device=built.device)
    pixels = rendered.get("novel_pixels")
    prediction = model(batch.x_t, batch.t, batch.text, batch.cameras, rendered.get("novel_cameras"), pixels)
    targets = Targets(
        latents=batch.values,
        alpha=torch.rand(SIZE.b, SIZE.n, SIZE.h, SIZE.w, device=built.device),
        x_t=batch.x_t,
        prediction=batch.foreground_x0,
        t=batch.t,
        is_clean=torch.zeros(SIZE.b, SIZE.n, dtype=torch.bool, device=built.device),
        text=batch.text,
        cameras=batch.cameras,
        maps=_maps(component, torch.rand(SIZE.b, SIZE.n, SIZE.h, SIZE.w, device=built.device)),
        **rendered,
    )
    return model, prediction, targets


def _maps(component: ComponentUnderTest, values: Tensor) -> dict[str, Tensor]:
    """Return the maps that the loss needs, ``b m c ...``, of values ``b m ...`` that all of their channels have."""
    loss = component.built().module
    needs = loss.needs if isinstance(loss, NeedsMaps) else ()
    return {name: torch.stack([values] * KNOWN_MAPS.get(name, 1), dim=2) for name in needs}


@dataclass(frozen=True)
class Discs:
    """A step whose views, input and novel ones, each show a disc of its own place, size and colour, or what fills them.

    Attributes:
        targets: the truth, as a training step gives it.
        modulated: what the backbone should predict.
        values: of all views, premultiplied by opacity, ``b (n + m) c h w``.
        opacity: of all views, ``b (n + m) h w``.
        background: the white image's latent, ``c 1 1``.
        scene: what a field made of random views.
    """

    targets: Targets
    modulated: Tensor
    values: Tensor
    opacity: Tensor
    background: Tensor
    scene: Any

    def prediction(self) -> Prediction:
        """Return the prediction of these renders."""
        x0 = self.values + (1 - self.opacity).unsqueeze(2) * self.background
        depth = torch.where(self.opacity > 0, DEPTH, 0.0)
        n = SIZE.n
        seen = Rendering(self.values[:, :n], self.opacity[:, :n], depth[:, :n])
        novel = Rendering(self.values[:, n:], self.opacity[:, n:], depth[:, n:])
        return Prediction(self.modulated, x0[:, :n], seen, self.scene, x0[:, n:], novel)

    def leaves(self) -> tuple["Discs", list[Tensor]]:
        """Return the same, and the tensors of it that ask for gradients."""
        asked = [tensor.clone().requires_grad_() for tensor in (self.modulated, self.values, self.opacity)]
        return replace(self, modulated=asked[0], values=asked[1], opacity=asked[2]), asked

    def off(self, by: float, seed: int) -> "Discs":
        """Move the prediction off the truth by random numbers; opacity stays in 0 to 1."""
        generator = torch.Generator().manual_seed(seed)

        def moved(tensor: Tensor) -> Tensor:
            return tensor + by * torch.randn(tensor.shape, generator=generator).to(tensor)

        return replace(
            self,
            modulated=moved(self.modulated),
            values=moved(self.values),
            opacity=moved(self.opacity).clamp(0, 1),
        )

    def otherwise(self) -> Iterator[tuple[str, "Discs"]]:
        """Yield the same renders transposed, mirrored, and in each other's place."""
        novel = list(range(SIZE.n, SIZE.n + SIZE.m))
        views = list(range(SIZE.n))
        changes: dict[str, Callable[[Tensor], Tensor]] = {
            "transposed": lambda x: x.mT,
            "mirrored": lambda x: x.flip(-1),
            "upside down": lambda x: x.flip(-2),
            "of the view before": lambda x: x[:, (views[-1:] + views[:-1] + novel)[: x.shape[1]]],
            "of the next view": lambda x: x[:, (views[1:] + views[:1] + novel)[: x.shape[1]]],
            "of the other object": lambda x: x.roll(1, dims=0),
        }
        for name, change in changes.items():
            yield (
                name,
                replace(
                    self, modulated=change(self.modulated), values=change(self.values), opacity=change(self.opacity)
                ),
            )

    def finer(self) -> "Discs":
        """Return the same in cells half as wide."""

        def twice(tensor: Tensor) -> Tensor:
            return tensor.repeat_interleave(2, -2).repeat_interleave(2, -1)

        names = ("latents", "alpha", "x_t", "prediction", "novel_latents", "novel_alpha")
        finer: dict[str, Any] = {name: twice(getattr(self.targets, name)) for name in names}
        for name in ("maps", "novel_maps"):
            finer[name] = {key: twice(values) for key, values in getattr(self.targets, name).items()}
        targets = replace(self.targets, **finer)
        return replace(
            self,
            targets=targets,
            modulated=twice(self.modulated),
            values=twice(self.values),
            opacity=twice(self.opacity),
        )


@torch.no_grad()
def discs(component: ComponentUnderTest, fill: float | None = None, cells: int = 12) -> Discs:
    """Draw discs, or views that are filled: with 0, nothing, or 1, the object everywhere."""
    model, prediction, targets = random_step(component, "whole")
    device, views = targets.t.device, SIZE.n + SIZE.m
    generator = torch.Generator().manual_seed(2)
    numbers = torch.rand(SIZE.b, views, 4, generator=generator)
    centres = pixel_centres((cells, cells)).reshape(cells, cells, 2)
    away = (centres - (0.35 + 0.3 * numbers[..., None, None, :2])).norm(dim=-1)
    alpha = (away < 0.15 + 0.15 * numbers[..., 2, None, None]).float() if fill is None else torch.full_like(away, fill)
    channels = targets.latents.shape[2]
    colours = 2 * torch.randn(SIZE.b, views, channels, 1, 1, generator=generator)
    values, alpha = (alpha[:, :, None] * colours).to(device), alpha.to(device)
    background = model.background_latent((cells, cells), device).mean((1, 2), keepdim=True)
    latents = values + (1 - alpha)[:, :, None] * background
    noise = torch.randn(2, SIZE.b, SIZE.n, channels, cells, cells, generator=generator).to(device)
    depth = torch.where(alpha > 0, DEPTH, 0.0)
    truth = replace(
        targets,
        maps=_maps(component, depth[:, : SIZE.n]),
        novel_maps=_maps(component, depth[:, SIZE.n :]),
        latents=latents[:, : SIZE.n],
        alpha=alpha[:, : SIZE.n],
        x_t=noise[0],
        prediction=noise[1],
        novel_latents=latents[:, SIZE.n :],
        novel_alpha=alpha[:, SIZE.n :],
    )
    return Discs(truth, noise[1], values, alpha, background, prediction.scene)
