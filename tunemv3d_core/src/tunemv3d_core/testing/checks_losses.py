"""Checks that a loss judges every view, teaches what is trained, and leaves alone what it is given."""

from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import KNOWN_MAPS, NeedsMaps, Prediction, Targets
from tunemv3d_core.testing.batches import PIXELS, Size
from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.checks_conduct import tensors_of
from tunemv3d_core.testing.component import ComponentUnderTest

SIZE = Size()

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
        _, prediction, targets = _step(component, novel)
        views = loss(prediction, targets)
        n, m = SIZE.n, 0 if novel == "none" else SIZE.m
        shapes = {(SIZE.b, n), (SIZE.b, n + m)}
        of_views = "" if novel == "none" else f" of {n} input views and {m} novel ones, rendered {novel}"
        if not isinstance(views, Tensor) or tuple(views.shape) not in shapes:
            got = tuple(views.shape) if isinstance(views, Tensor) else type(views).__name__
            wanted = " or ".join(map(str, sorted(shapes)))
            raise ConformanceError(f"{SIZE.b} objects{of_views}: should give a tensor of shape {wanted}, got {got}")
        if not bool(views.isfinite().all()):
            raise ConformanceError(f"{SIZE.b} objects{of_views}: gives numbers that are not finite")


def check_gradients_reach_prediction(component: ComponentUnderTest) -> None:
    """Its gradient is finite and reaches the model through the prediction."""
    model, prediction, targets = _step(component, "whole")
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
    _, prediction, targets = _step(component, "whole")
    given = [*tensors_of(prediction, "the prediction"), *tensors_of(targets, "the targets")]
    before = [tensor.detach().clone() for _, tensor in given]
    with torch.no_grad():
        component.built().module(prediction, targets)
    for (name, tensor), copy in zip(given, before, strict=True):
        if not torch.equal(tensor, copy):
            raise ConformanceError(f"{name} is changed in its place: change a copy")


def _step(component: ComponentUnderTest, novel: str) -> tuple[MultiviewDiffusion, Prediction, Targets]:
    """A model of stand-ins, what it predicts of random latents, and random targets."""
    built = component.built()
    torch.manual_seed(4)
    model, batch = built.system().train(), built.batch(SIZE)
    rendered: dict[str, Any] = {}
    if novel != "none":
        shape = (SIZE.b, SIZE.m, *((SIZE.h, SIZE.w) if novel == "whole" else (PIXELS,)))
        rendered["novel_cameras"] = batch.novel
        rendered["novel_pixels"] = batch.pixels if novel == "at pixels" else None
        rendered["novel_alpha"] = torch.rand(shape, device=built.device)
        rendered["novel_maps"] = _maps(component, shape[1:])
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
        maps=_maps(component, (SIZE.n, SIZE.h, SIZE.w)),
        **rendered,
    )
    return model, prediction, targets


def _maps(component: ComponentUnderTest, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Draw the maps that the loss needs, ``b m c h w`` or ``b m c r``; one channel for names without fixed meaning."""
    loss = component.built().module
    needs = loss.needs if isinstance(loss, NeedsMaps) else ()
    views, *cells = shape
    return {name: torch.rand(SIZE.b, views, KNOWN_MAPS.get(name, 1), *cells, device=component.device) for name in needs}


CHECKS = (check_can_be_called, check_per_view, check_gradients_reach_prediction, check_prediction_kept)
