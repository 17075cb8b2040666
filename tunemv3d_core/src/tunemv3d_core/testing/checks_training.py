"""Checks of training: gradients reach everything, compiling changes nothing, and a tiny system's loss falls."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.slots import Prediction
from tunemv3d_core.testing.batches import INPUTS, Batch, Size, asking
from tunemv3d_core.testing.blame import locating_nan
from tunemv3d_core.testing.check import ConformanceError, NotApplicableError
from tunemv3d_core.testing.component import Built, ComponentUnderTest, awake, trainable
from tunemv3d_core.testing.seeding import seed_all
from tunemv3d_core.testing.training_probe import TrainingProbe, call

LARGER = Size(1, 2, 1, 16, 16)
"""Enough cells for attention to have a choice after three halvings."""

SMALLER = Size(1, 2, 1, 8, 8)
"""Few cells, because a compiler unrolls loops over them."""

BATCHES, SCALES = 12, (1.0, 0.01, 8.0)
"""Batches in which outputs have to be finite, and the sizes of their numbers by turns."""

STEPS, RATE, BACKBONE_RATE = 20, 1e-2, 1e-4
"""Steps and learning rates of the check that the loss falls; a pretrained backbone takes smaller steps."""

FALL = 0.8
"""Largest ratio of the last loss to the first, after ``STEPS`` steps."""


def check_gradients_reach_parameters(component: ComponentUnderTest) -> None:
    """Within three optimizer steps every trainable parameter gets a gradient, and no other tensor does."""
    built = component.built()
    if not trainable(built.module):
        raise NotApplicableError("it has no trainable parameters")
    reached = _train(built, built.batch(LARGER))
    own = {id(parameter) for parameter in built.module.parameters()}
    hidden = [leaf for leaf in _leaves(TrainingProbe(built).train()(built.batch(LARGER))) if id(leaf) not in own]
    if hidden:
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in hidden)
        raise ConformanceError(
            f"tensors of shape {shapes} get gradients but are not parameters, so no optimizer and no checkpoint finds "
            "them: hold them as nn.Parameter, in an nn.ParameterList or an nn.ModuleList"
        )
    missed = sorted(trainable(built.module).keys() - reached)
    if missed:
        raise ConformanceError(f"no gradient reaches {', '.join(missed)} within three optimizer steps")


def check_gradients_reach_inputs(component: ComponentUnderTest) -> None:
    """Every channel of its inputs from trainable components gets gradients, so that those can learn."""
    built = component.built()
    batch = built.batch(LARGER)
    # Three steps first, because last layers may start at zero.
    if trainable(built.module):
        _train(built, batch)
    name = INPUTS[component.slot]
    batch, leaves = asking(batch, name)
    loss: Tensor = TrainingProbe(built).train()(batch)
    torch.autograd.backward(loss)
    for k, leaf in enumerate(leaves):
        if leaf.grad is None or not bool(leaf.grad.any()):
            raise ConformanceError(f"no gradient reaches {name}{f' {k}' if len(leaves) > 1 else ''}")
        if idle := (leaf.grad == 0).all(4).all(3).all(1).all(0).nonzero().flatten().tolist():
            raise ConformanceError(f"no gradient reaches the channels {idle} of {name}")
    if component.slot == "field":
        seen = call(built, batch, novel=False).per_view
        for output in ("values", "opacity"):
            gradients = torch.autograd.grad(seen[output].sum(), leaves, allow_unused=True, retain_graph=True)
            if gradients[0] is None or not bool(gradients[0].any()):
                raise ConformanceError(f"no gradient reaches {name} from {output}")


def check_gradients_finite(component: ComponentUnderTest) -> None:
    """In training every output, loss and gradient is finite, of random inputs and of inputs that are 0."""
    for zero in (False, True):
        built = component.built()
        batch, leaves = asking(built.batch(), INPUTS.get(component.slot, "x_t"), zero)
        of_inputs = f"for {INPUTS.get(component.slot, 'x_t')} of 0" if zero else "for random inputs"
        outputs = call(replace(built, module=built.module.train()), batch, losses=True)
        for name, output in (outputs.all() | {f"the loss '{k}'": v for k, v in outputs.losses.items()}).items():
            if not bool(output.isfinite().all()):
                raise ConformanceError(f"{name} has numbers that are not finite, {of_inputs}")
        with locating_nan():
            loss: Tensor = TrainingProbe(built)(batch)
            if loss.requires_grad:
                torch.autograd.backward(loss)
        named = {name: parameter.grad for name, parameter in trainable(built.module).items()}
        named |= {f"its input {k}": leaf.grad for k, leaf in enumerate(leaves)}
        for name, gradient in named.items():
            if gradient is not None and not bool(gradient.isfinite().all()):
                raise ConformanceError(f"the gradient of {name} is not finite, {of_inputs}")


@torch.no_grad()
def check_stays_finite(component: ComponentUnderTest) -> None:
    """In training its outputs stay finite for a dozen batches, of small and of large numbers."""
    built = component.built()
    training, name = replace(built, module=built.module.train()), INPUTS.get(component.slot, "x_t")
    for step in range(BATCHES):
        batch, scale = built.batch(SMALLER, seed=step), SCALES[step % len(SCALES)]
        given = getattr(batch, name)
        scaled: Any = tuple(scale * each for each in given) if isinstance(given, tuple) else scale * given
        for output, values in call(training, replace(batch, **{name: scaled})).all().items():
            if not bool(values.isfinite().all()):
                raise ConformanceError(f"{output} are not finite in step {step}, for {name} of about {scale:g}")


def check_finite_for_skips_of_zero(component: ComponentUnderTest) -> None:
    """Its residuals and gradients are finite where the frozen encoder's maps are 0, as they are after a ReLU."""
    built = awake(component)
    batch, leaves = asking(built.batch(), "maps")
    skips = built.backbone.encode(batch.x_t, batch.t, batch.text)
    zeros = replace(skips, maps=tuple(torch.zeros_like(skip) for skip in skips.maps))
    with locating_nan():
        residuals = built.module(tuple(each.flatten(0, 1) for each in batch.maps), zeros)
        gradients = torch.autograd.grad(torch.cat([r.flatten() for r in residuals]).sum(), leaves, allow_unused=True)
    for what, tensors in (("residual", residuals), ("the gradient of map", gradients)):
        for k, tensor in enumerate(tensors):
            if tensor is not None and not bool(tensor.isfinite().all()):
                raise ConformanceError(f"{what} {k} is not finite where the skip is 0")


def check_compiles(component: ComponentUnderTest) -> None:
    """``torch.compile(backend="eager")`` gives the same training loss."""
    built = component.built()
    probe, batch = TrainingProbe(built, novel=False).train(), built.batch(SMALLER)
    losses = []
    with _fresh_compiler():
        for run in (probe, torch.compile(probe, backend="eager")):
            seed_all(3)
            losses.append(run(batch))
        if losses[1].requires_grad:
            losses[1].backward()
    plain, compiled = (float(loss.detach()) for loss in losses)
    if not abs(plain - compiled) <= 1e-4 * max(1.0, abs(plain)):
        raise ConformanceError(f"the compiled loss is {compiled:.6g}, the plain one {plain:.6g}")


@contextmanager
def _fresh_compiler() -> Iterator[None]:
    """Reset the compiler before and after, and silence its messages on graph breaks, which are allowed."""
    logger = logging.getLogger("torch._dynamo")
    level = logger.level
    torch.compiler.reset()
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        torch.compiler.reset()


def check_loss_falls(component: ComponentUnderTest) -> None:
    """In a tiny system, the loss on one fixed batch falls by a fifth within 20 steps."""
    built = component.built()
    seed_all(4)
    model = built.system().train()
    batch = built.batch(Size(1, 3, 2, 8, 8))
    latents, alpha = _object(model, batch)
    rates = {slot: BACKBONE_RATE if slot == "backbone" else RATE for slot in model.slots()}
    groups = [{"params": [*trainable(part).values()], "lr": rates[slot]} for slot, part in model.slots().items()]
    optimizer = torch.optim.AdamW(groups)
    history = []
    for _ in range(STEPS + 1):
        loss = _loss(built.slot, model, batch, latents, alpha)
        history.append(float(loss.detach()))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    if not history[-1] <= FALL * history[0]:
        raise ConformanceError(
            f"the loss went from {history[0]:.4g} to {history[-1]:.4g} in {STEPS} steps of AdamW at lr {RATE} "
            f"({BACKBONE_RATE} for a backbone); it should fall to at most {FALL} of the first loss"
        )


def _train(built: Built, batch: Batch) -> set[str]:
    """Take three optimizer steps; return names of the parameters that had a gradient in them or right after."""
    probe, parameters = TrainingProbe(built).train(), trainable(built.module)
    optimizer, reached = torch.optim.AdamW(parameters.values(), lr=1e-3), set()
    for _ in range(4):
        optimizer.zero_grad()
        probe(batch).backward()
        gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
        for name, gradient in gradients.items():
            if not bool(gradient.isfinite().all()):
                raise ConformanceError(f"the gradient of {name} is not finite")
        reached |= {name for name, gradient in gradients.items() if bool(gradient.any())}
        optimizer.step()
    return reached


def _leaves(loss: Tensor) -> Iterator[Tensor]:
    """Yield the leaf tensors of a loss's graph."""
    seen, left = set(), [loss.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [before for before, _ in node.next_functions]
            if hasattr(node, "variable"):
                yield node.variable


def _object(model: MultiviewDiffusion, batch: Batch) -> tuple[Tensor, Tensor]:
    """Draw a ball of one colour as clean latents ``b n c h w`` and alpha ``b n h w``, the same from everywhere."""
    size = (batch.size.h, batch.size.w)
    ground = model.background_latent(size)
    y, x = torch.meshgrid(*((torch.arange(s, device=ground.device) + 0.5) / s - 0.5 for s in size), indexing="ij")
    alpha = (x.square() + y.square() < 0.3**2).float().expand(batch.size.b, batch.size.n, *size)
    colour = torch.linspace(1.0, -1.0, len(ground), device=ground.device)[:, None, None]
    return ground + alpha[:, :, None] * (colour - ground), alpha


def _loss(slot: str, model: MultiviewDiffusion, batch: Batch, latents: Tensor, alpha: Tensor) -> Tensor:
    """Compute the loss that the slot is responsible for: of the field's x0, or else of the prediction."""
    t, noise = torch.full_like(batch.t, 500.0), batch.x_t
    x_t = model.backbone.add_noise(latents, noise, t)
    prediction = model(x_t, t, batch.text, batch.cameras)
    guesses = slot in ("view_encoder", "field", "aggregator")
    if guesses and model.field is not None and model.field.ports.gives == "latents":
        return _field_loss(prediction, latents, alpha)
    return torch.nn.functional.mse_loss(prediction.modulated, model.backbone.target(latents, noise, t))


def _field_loss(prediction: Prediction, latents: Tensor, alpha: Tensor) -> Tensor:
    assert prediction.x0 is not None and prediction.rendering is not None
    opacity = prediction.rendering.opacity.clamp(1e-4, 1 - 1e-4)
    return (prediction.x0 - latents).abs().mean() + 0.1 * torch.nn.functional.binary_cross_entropy(opacity, alpha)


CHECKS = (
    check_gradients_finite,
    check_stays_finite,
    check_gradients_reach_parameters,
    check_compiles,
    check_loss_falls,
)
OF_SLOT: dict[str, tuple[Callable[[ComponentUnderTest], None], ...]] = {
    **{slot: (check_gradients_reach_inputs,) for slot in INPUTS},
    "injector": (check_gradients_reach_inputs, check_finite_for_skips_of_zero),
}
