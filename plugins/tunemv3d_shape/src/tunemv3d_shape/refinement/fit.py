"""Fit a surface with colours to one object's views, starting from the surface that was generated (paper 3.4).

Colour and mask of random rays pull. The depth and the normals of the generated surface hold it, because plain parts
swell without them; the distance keeps the slope 1 and bends little. Some rays are never fitted: when they no longer
get better, which views that contradict each other bring about early, the fit is over.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from tunemv3d_core.cameras import Rays
from tunemv3d_core.errors import SampleError
from tunemv3d_core.rendering.volume import RayOutputs
from tunemv3d_core.slots import HasSurface, Pictures
from tunemv3d_shape.refinement.grid import Grid, gradient, render_rays
from tunemv3d_shape.refinement.shape import RefinedShape
from tunemv3d_shape.surface import HALF, all_distances, check_has_surface


@dataclass(frozen=True)
class FitOptions:
    """Options of a fit.

    Attributes:
        cells: along the side of the final grid.
        steps: at most so many; the first ``coarse`` of them on a grid of half the cells.
        coarse: steps on the coarse grid.
        rays: per step.
        seed: of everything that is drawn.
        mask, eikonal, bend: weights of the terms beside the colour's 1.
        depth, normals: weights of the generated surface at the start.
        fade: the share of the two that is left after ``FADING`` steps.
    """

    cells: int = 96
    steps: int = 1000
    coarse: int = 300
    rays: int = 1024
    seed: int = 0
    mask: float = 0.5
    depth: float = 1.0
    normals: float = 0.1
    fade: float = 0.1
    eikonal: float = 0.05
    bend: float = 0.05


EVERY = 50
"""Steps between measurements of the rays that are held out."""

PATIENCE, PROGRESS = 2, 0.03
"""A fit is over when this many measurements on the final grid together lowered the loss by less than this share."""

FADING = 600
"""Steps until the terms that hold the generated surface have faded."""

CALMING = 0.995
"""Factor on the learning rates in each step on the final grid, whose cells few rays meet."""

_HELD_OUT = 0.05


@dataclass(frozen=True)
class FitProgress:
    """State of a fit.

    Attributes:
        step: done so far.
        loss: of the rays that are held out.
        shape: as it is now.
    """

    step: int
    loss: float
    shape: RefinedShape


@dataclass(frozen=True)
class _Targets:
    """Rays ``r`` of all pixels, and what each should see."""

    rays: Rays
    colours: Tensor
    alpha: Tensor
    depth: Tensor
    normals: Tensor

    def at(self, which: Tensor) -> "_Targets":
        rays = Rays(self.rays.origins[which], self.rays.directions[which])
        rest = (self.colours, self.alpha, self.depth, self.normals)
        return _Targets(rays, *(z[which] for z in rest))


def fit(
    shape: HasSurface,
    pictures: Pictures,
    options: FitOptions | None = None,
    device: torch.device | None = None,
    on_step: Callable[[int], object] = lambda step: None,
    on_progress: Callable[[FitProgress], object] = lambda look: None,
) -> tuple[RefinedShape, list[dict[str, float]], bool]:
    """Refine a shape; a ``KeyboardInterrupt`` ends it early and keeps what is there.

    Args:
        shape: the generated one.
        pictures: the views.
        options: how; the same seed gives the same result on a CPU.
        device: where to compute.
        on_step: called with the number of steps done.
        on_progress: called with the state of the fit, at the start and every ``EVERY`` steps.

    Returns:
        The shape as it was best, the history as step and loss, and whether it was interrupted.

    Raises:
        SampleError: the shape has no surface, or the fit diverged.
    """
    options = options or FitOptions()
    device = device or torch.device("cpu")
    interrupted = False
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        run = _Run(shape, pictures, options, device)
        try:
            on_progress(run.validate(0))
            for step in range(1, options.steps + 1):
                run.step(step)
                on_step(step)
                if step % EVERY == 0 or step == options.steps:
                    on_progress(run.validate(step))
                    if run.is_over():
                        break
        except KeyboardInterrupt:
            interrupted = True
    return run.best.shape, run.history, interrupted


class _Run:
    """State of one fit: the grid, what it is fitted to, and what was seen so far."""

    def __init__(self, shape: HasSurface, pictures: Pictures, options: FitOptions, device: torch.device) -> None:
        self.options, self.size = options, pictures.size
        coarse = options.cells // 2 + 1
        found = all_distances(shape, options.cells, device)
        check_has_surface(found)
        distances = torch.from_numpy(found)
        shown = pictures.colours.movedim(1, -1)[pictures.alpha > 0.5]
        colours = shown.median(0).values.expand(*distances.shape, 3)
        self.grid = Grid(distances, colours).finer(coarse).to(device)
        self.targets = self._targets(Grid(distances, colours).to(device), pictures, device)
        order = torch.randperm(len(self.targets.alpha))
        held_out = max(1, int(_HELD_OUT * len(order)))
        self.held_out, self.fitted = order[:held_out], order[held_out:]
        # Rays on and around the object teach more than the wide empty ground.
        near = self.targets.alpha.cpu()[self.fitted] > 0
        self.chances = torch.where(near, 1.0, 0.5 * near.sum().clamp(min=1) / (~near).sum().clamp(min=1))
        self.history: list[dict[str, float]] = []
        self.best = FitProgress(0, float("inf"), self._shape())
        self._start_optimizer()

    def step(self, step: int) -> None:
        """Draw rays, compare, descend."""
        options = self.options
        if step == options.coarse + 1:
            self.grid = self.grid.finer(options.cells + 1).to(self.grid.distances.device)
            self._start_optimizer()
        drawn = torch.multinomial(self.chances, options.rays, replacement=True)
        wanted = self.targets.at(self.fitted[drawn])
        seen = render_rays(self.grid, wanted.rays, self.inv_s(step), jitter=True)
        loss = self._misfit(seen, wanted, self._ground(options.rays)) + self._regularity(seen, wanted, step)
        if not bool(loss.isfinite()):
            raise SampleError(f"the refinement diverged in step {step}: the loss is not a finite number")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if step > options.coarse:
            self.calmer.step()

    def inv_s(self, step: int) -> float:
        """NeuS's s: the surface's width falls from two cells of the final grid to half of one on the coarse grid."""
        share = min(1.0, step / self.options.coarse)
        return 4**share * self.options.cells / (2 * HALF)

    def validate(self, step: int) -> FitProgress:
        """Measure the held-out rays, by colour on white and mask, and remember the best."""
        wanted = self.targets.at(self.held_out)
        shape = self._shape(step)
        with torch.no_grad():
            seen = render_rays(self.grid, wanted.rays, shape.inv_s)
        on_white = seen.values - seen.opacity[:, None], (wanted.colours - 1) * wanted.alpha[:, None]
        loss = float((on_white[0] - on_white[1]).abs().mean() + (seen.opacity - wanted.alpha).abs().mean())
        stand = FitProgress(step, loss, shape)
        self.history.append({"step": step, "loss": round(loss, 5)})
        # Losses of the coarse grid, whose surface is softer, do not compare.
        if loss < self.best.loss or step <= self.options.coarse:
            self.best = stand
        return stand

    def is_over(self) -> bool:
        """Tell whether the last measurements on the final grid brought little."""
        losses = [stand["loss"] for stand in self.history if stand["step"] >= self.options.coarse]
        before, last = losses[:-PATIENCE], losses[-PATIENCE:]
        return bool(before) and min(last) > (1 - PROGRESS) * min(before)

    def _misfit(self, seen: RayOutputs, wanted: _Targets, ground: Tensor) -> Tensor:
        """Colour on a ground, and mask."""
        alpha = wanted.alpha[:, None]
        pictured = wanted.colours * alpha + ground * (1 - alpha)
        colour = (seen.values + (1 - seen.opacity)[:, None] * ground - pictured).abs().mean()
        opacity = seen.opacity.clamp(1e-4, 1 - 1e-4)
        return colour + self.options.mask * binary_cross_entropy(opacity, wanted.alpha)

    def _regularity(self, seen: RayOutputs, wanted: _Targets, step: int) -> Tensor:
        """Depth and normals of the generated surface, slope 1, little bend; at the points that the rays hit."""
        options = self.options
        hit = ((seen.opacity > 0.5) & (wanted.depth > 0)).detach()
        if not bool(hit.any()):
            return seen.opacity.sum() * 0
        rays = wanted.rays
        depth = (seen.depth - wanted.depth)[hit].abs().mean()
        points = rays.origins[hit] + seen.depth.detach()[hit, None] * rays.directions[hit]
        spread = torch.randn_like(points) * 2 * self.grid.cell
        nearby = self.grid.nearby(torch.cat([points, points + spread]))
        slopes = gradient(nearby, self.grid.cell)
        lengths = slopes.norm(dim=-1)
        of_hits = slopes[: len(points)] / lengths[: len(points), None].clamp(min=1e-6)
        turned = (1 - (of_hits * wanted.normals[hit]).sum(-1)).mean()
        bend = (nearby[:, 1:].sum(-1) - 6 * nearby[:, 0]).abs().mean() / self.grid.cell
        eikonal = (lengths - 1).square().mean()
        held = options.fade ** min(1.0, step / FADING) * (options.depth * depth + options.normals * turned)
        return torch.as_tensor(held + options.eikonal * eikonal + options.bend * bend)

    def _ground(self, rays: int) -> Tensor:
        """A random colour behind each ray: white fog cannot pass for white ground."""
        return torch.rand(rays, 3, device=self.grid.distances.device)

    def _targets(self, generated: Grid, pictures: Pictures, device: torch.device) -> _Targets:
        """Collect every pixel's ray, colour and mask, with depth and normal of the generated surface."""
        cameras = pictures.cameras.to(device)
        shape = RefinedShape(generated, self.inv_s(self.options.coarse), pictures.size)
        rays = cameras.rays(pictures.size)
        flat = Rays(rays.origins.flatten(0, 1), rays.directions.flatten(0, 1))
        with torch.no_grad():
            seen = [shape.render(cameras[i]) for i in range(cameras.shape[0])]
            depth = torch.cat([torch.where(s.opacity > 0.5, s.depth, 0.0) for s in seen])
            nearby = generated.nearby(flat.origins + depth[:, None] * flat.directions)
        normals = torch.nn.functional.normalize(gradient(nearby, generated.cell), dim=-1)
        colours = pictures.colours.movedim(1, -1).reshape(-1, 3).to(device)
        return _Targets(flat, colours, pictures.alpha.reshape(-1).to(device), depth, normals)

    def _shape(self, step: int = 0) -> RefinedShape:
        kept = Grid(self.grid.distances.detach().reshape((self.grid.side,) * 3), self.grid.colours.detach())
        return RefinedShape(kept.to(self.grid.distances.device), self.inv_s(step), self.size)

    def _start_optimizer(self) -> None:
        groups = [
            {"params": [self.grid.distances], "lr": 0.05 * self.grid.cell},
            {"params": [self.grid.colours], "lr": 0.02},
        ]
        self.optimizer = torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-12, fused=True)
        self.calmer = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, CALMING)
