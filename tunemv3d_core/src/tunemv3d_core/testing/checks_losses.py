"""Checks that a loss judges every view, teaches what is trained, and leaves alone what it is given."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.checks_conduct import tensors_of
from tunemv3d_core.testing.component import ComponentUnderTest, trainable
from tunemv3d_core.testing.loss_steps import SIZE, discs, random_step
from tunemv3d_core.testing.seeding import seed_all

NEAR = 0.002
"""Size of the noise by which a prediction is off the truth."""

TIMES = 3.0
"""How many times as much the same pictures may cost in cells half as wide: means of differences between neighbours
halve, sums grow fourfold.
"""

SHAPES = ((SIZE.b, SIZE.n), (SIZE.b, SIZE.n + SIZE.m))
"""Shapes that a loss may give."""

NOVEL = ("none", "whole", "at pixels")
"""How a step may render novel views."""


def check_can_be_called(component: ComponentUnderTest) -> None:
    """It is built from its defaults, and what is built can be called."""
    loss = component.built().module
    if not callable(loss):
        raise ConformanceError(f"build gave {type(loss).__name__}, which cannot be called")


def check_per_view(component: ComponentUnderTest) -> None:
    """It gives a finite number per view, input views alone or novel ones after them, however those are rendered."""
    loss = component.built().module
    for novel in NOVEL:
        _, prediction, targets = random_step(component, novel)
        views = loss(prediction, targets)
        n, m = SIZE.n, 0 if novel == "none" else SIZE.m
        shapes = {SHAPES[0], (SIZE.b, n + m)}
        of_views = "" if novel == "none" else f" of {n} input views and {m} novel ones, rendered {novel}"
        if not isinstance(views, Tensor) or tuple(views.shape) not in shapes:
            got = tuple(views.shape) if isinstance(views, Tensor) else type(views).__name__
            wanted = " or ".join(map(str, sorted(shapes)))
            raise ConformanceError(f"{SIZE.b} objects{of_views}: should give a tensor of shape {wanted}, got {got}")
        if not bool(views.isfinite().all()):
            raise ConformanceError(f"{SIZE.b} objects{of_views}: gives numbers that are not finite")


def check_gradients_reach_prediction(component: ComponentUnderTest) -> None:
    """Its gradient is finite and reaches the model through the prediction."""
    model, prediction, targets = random_step(component, "whole")
    total = component.built().module(prediction, targets).mean()
    if not total.requires_grad:
        raise ConformanceError("it does not depend on the prediction, so that nothing learns from it")
    total.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    if not all(bool(gradient.isfinite().all()) for gradient in gradients):
        raise ConformanceError("its gradient is not finite")
    if not any(bool(gradient.any()) for gradient in gradients):
        raise ConformanceError("its gradient is zero everywhere, so that nothing learns from it")


def check_prediction_kept(component: ComponentUnderTest) -> None:
    """It changes neither the prediction nor the targets: other losses are given the same."""
    _, prediction, targets = random_step(component, "whole")
    given = [*tensors_of(prediction, "the prediction"), *tensors_of(targets, "the targets")]
    before = [tensor.detach().clone() for _, tensor in given]
    with torch.no_grad():
        component.built().module(prediction, targets)
    for (name, tensor), copy in zip(given, before, strict=True):
        if not torch.equal(tensor, copy):
            raise ConformanceError(f"{name} is changed in its place: change a copy")


@torch.no_grad()
def check_truth_is_best(component: ComponentUnderTest) -> None:
    """No prediction near the truth costs less, nor one mirrored or of another view: its sign and targets are right."""
    loss, truth = component.built().module, discs(component)
    least = float(loss(truth.prediction(), truth.targets).mean())
    noisy = [(f"off by {by:+g} noise", truth.off(by, seed)) for seed in (0, 1) for by in (NEAR, -NEAR)]
    for name, other in (*noisy, *truth.otherwise()):
        found = float(loss(other.prediction(), truth.targets).mean())
        if not found >= least - 1e-5 * abs(least):
            raise ConformanceError(
                f"the truth costs {least:.6g}, a prediction {name} {found:.6g}: is its sign right, and is each view "
                "compared with its own truth (x0 with latents, modulated with prediction)?"
            )


@torch.no_grad()
def check_numbers_of_views(component: ComponentUnderTest) -> None:
    """A view's number depends on no other view's targets, and novel views' numbers come last."""
    loss, truth = component.built().module, discs(component).off(0.3, seed=0)
    prediction, targets = truth.prediction(), truth.targets
    before = loss(prediction, targets)
    of_input: dict[str, Any] = {
        name: _with_view(getattr(targets, name), 0, 1) for name in ("latents", "alpha", "prediction", "x_t")
    }
    of_novel: dict[str, Any] = {
        name: _with_view(getattr(targets, name), 1, 0) for name in ("novel_latents", "novel_alpha")
    }
    for changed, place in ((of_input, (0, 1)), (of_novel, (1, SIZE.n))):
        moved = ~torch.isclose(loss(prediction, replace(targets, **changed)), before, rtol=1e-4, atol=1e-6)
        if place[1] < moved.shape[1]:
            moved[place] = False
        if bool(moved.any()):
            row, column = moved.nonzero()[0].tolist()
            raise ConformanceError(
                f"other targets of view {place[1]} of object {place[0]} change the number at ({row}, {column}): it "
                "should be that view's alone, so that losses can be told by noise level"
            )


@torch.no_grad()
def check_any_resolution(component: ComponentUnderTest) -> None:
    """In cells half as wide the same pictures cost about the same: it takes means over cells, not sums."""
    loss, truth = component.built().module, discs(component).off(0.3, seed=0)
    finer = truth.finer()
    coarse, fine = (float(loss(each.prediction(), each.targets).mean()) for each in (truth, finer))
    if not abs(coarse) / TIMES <= abs(fine) <= abs(coarse) * TIMES:
        raise ConformanceError(f"the same pictures cost {coarse:.4g}, and {fine:.4g} in four times as many cells")


def check_finite_at_extremes(component: ComponentUnderTest) -> None:
    """Numbers and gradients are finite for views that are empty, full, given clean, or predicted as they are."""
    loss = component.built().module
    for fill, what in ((None, "discs"), (0.0, "empty views"), (1.0, "views that the object fills")):
        truth, leaves = discs(component, fill).leaves()
        for clean in (False, True):
            targets = truth.targets
            if clean:
                targets = replace(targets, t=torch.zeros_like(targets.t), is_clean=torch.ones_like(targets.is_clean))
            views = loss(truth.prediction(), targets)
            of_views = f"for {what}{' given clean, at t = 0' if clean else ''}, predicted as they are"
            if tuple(views.shape) not in SHAPES or not bool(views.isfinite().all()):
                raise ConformanceError(f"it does not give a finite number for each view {of_views}")
            gradients = torch.autograd.grad(views.mean(), leaves, allow_unused=True) if views.requires_grad else ()
            if not all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None):
                raise ConformanceError(f"its gradient is not finite {of_views}")


@torch.no_grad()
def check_repeats(component: ComponentUnderTest) -> None:
    """It gives the same for a step again, whatever steps came between; where it draws, from torch's generator."""
    loss = component.built().module
    first, other = (random_step(component, "whole", seed)[1:] for seed in (4, 5))
    given = []
    for step in (first, other, first):
        seed_all(0)
        given.append(loss(*step))
    if not torch.equal(given[0], given[2]):
        raise ConformanceError("it gives other numbers for the same step after another one: it keeps something")


def check_nothing_to_learn(component: ComponentUnderTest) -> None:
    """Where it is a module, its parameters are frozen: no checkpoint holds them."""
    loss = component.built().module
    if isinstance(loss, torch.nn.Module) and (names := list(trainable(loss))):
        raise ConformanceError(f"{names[0]} asks for gradients, but nobody trains it: call requires_grad_(False)")


def _with_view(tensor: Tensor, index: int, view: int) -> Tensor:
    """Return a copy whose one view shows something else: 1 minus what it showed."""
    changed = tensor.clone()
    changed[index, view] = 1 - changed[index, view]
    return changed


CHECKS = (
    check_can_be_called,
    check_per_view,
    check_numbers_of_views,
    check_truth_is_best,
    check_any_resolution,
    check_gradients_reach_prediction,
    check_finite_at_extremes,
    check_prediction_kept,
    check_repeats,
    check_nothing_to_learn,
)
