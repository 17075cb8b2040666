"""Checks of numbers: the same in any precision, order of views and batch."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tunemv3d_core.cameras import pixel_centres
from tunemv3d_core.slots import HasSurface
from tunemv3d_core.testing.batches import INPUTS, UNEVEN, Batch, Size, asking
from tunemv3d_core.testing.check import ConformanceError, NotApplicableError
from tunemv3d_core.testing.component import Built, ComponentUnderTest, awake, trainable
from tunemv3d_core.testing.seeding import seed_all
from tunemv3d_core.testing.training_probe import TrainingProbe, call

AUTOCAST_ERROR = 0.1
"""Largest mean error of bfloat16 against float32, as a share of the mean absolute output."""

ROUNDING = 1e-4
"""Largest mean error of outputs that differ only in the order of summation, as a share of the mean absolute output. The
mean, because a sample that depends on a threshold may jump by rounding.
"""

BESIDE = 1e-3
"""Distance by which rounding may carry an opacity out of 0 to 1."""


def check_autocast(component: ComponentUnderTest) -> None:
    """Under autocast to bfloat16 outputs are nearly the same, depths are float32 and gradients are finite."""
    built = awake(component)
    batch, mixed = built.batch(), torch.autocast(built.device.type, torch.bfloat16)
    with torch.no_grad():
        exact = call(built, batch).all()
        with mixed:
            rough = call(built, batch).all()
    for name, output in rough.items():
        wanted = exact[name]
        # Whether a ray hits depends on a threshold: a depth is compared where it does in both.
        counts = (wanted > 0) & (output > 0) if "depth" in name else torch.ones_like(wanted, dtype=torch.bool)
        error = (output.float() - wanted).abs()[counts].sum() / wanted.abs()[counts].sum().clamp(min=1e-6)
        if not float(error) <= AUTOCAST_ERROR:
            raise ConformanceError(f"{name} are off by {float(error):.0%} under autocast; keep geometry in float32")
        if "depth" in name and output.dtype != torch.float32:
            raise ConformanceError(f"{name} is {output.dtype} under autocast; geometry stays float32")
    if trainable(built.module):
        with mixed:
            loss = TrainingProbe(built).train()(batch)
        loss.backward()
        _finite_gradients(built.module)


def check_evaluation_deterministic(component: ComponentUnderTest) -> None:
    """In evaluation mode equal inputs give bitwise equal outputs, whatever the random generator's state."""
    built = awake(component)
    batch = built.batch()
    first = _outputs(built, batch, seed=1)
    for name, output in _outputs(built, batch, seed=2).items():
        if not torch.equal(output, first[name]):
            raise ConformanceError(f"{name} differ between runs in evaluation mode")


def check_state_dict(component: ComponentUnderTest) -> None:
    """Its state after training, saved as safetensors and loaded into another build, gives the same outputs."""
    trained, fresh = component.built(seed=0), component.built(seed=1)
    # Trained on another batch than is compared: what it remembers of it must be in its state.
    TrainingProbe(trained).train()(trained.batch(seed=1))
    _disturb(trained.module)
    own = _own_state(trained)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "state.safetensors"
        save_file({name: tensor.detach() for name, tensor in own.items()}, file)
        stored = load_file(file, str(trained.device))
    places = _own_state(fresh)
    if places.keys() != stored.keys():
        raise ConformanceError(
            f"two builds of one spec have different tensors: {sorted(places.keys() ^ stored.keys())}"
        )
    with torch.no_grad():
        for name, tensor in places.items():
            tensor.copy_(stored[name])
    batch = trained.batch()
    wanted = _outputs(trained, batch)
    for name, output in _outputs(fresh, batch).items():
        if not torch.equal(output, wanted[name]):
            raise ConformanceError(f"{name} differ after loading: some state is in no parameter and no buffer")


def check_view_permutation(component: ComponentUnderTest) -> None:
    """Permuting the input views, of which one is clean, permutes the outputs and changes nothing else."""
    # No view keeps a neighbour, and the order is no turn, reversal or other rule that a component may follow, too.
    built, order = awake(component), [11, 4, 14, 1, 8, 5, 15, 2, 10, 7, 0, 13, 3, 6, 12, 9]
    batch = built.batch(Size(b=1, n=len(order)))
    t = batch.t.clone()
    t[:, 0] = 0
    batch = replace(batch, t=t)
    with torch.no_grad():
        straight, turned = call(built, batch), call(built, batch.permuted(order))
    for name, output in turned.all().items():
        wanted = straight.per_view[name][:, order] if name in straight.per_view else straight.shared[name]
        _close(f"{name} of permuted views", output, wanted)


def check_objects_apart(component: ComponentUnderTest) -> None:
    """An object's outputs are the same alone and in a batch, and in training too depend on no other object."""
    built = awake(component)
    batch = built.batch()
    together = _outputs(built, batch)
    for index in range(batch.size.b):
        for name, output in _outputs(built, batch.alone(index)).items():
            _close(f"{name} of object {index} alone", output, together[name][index : index + 1])
    name = INPUTS.get(component.slot, "x_t")
    changed, leaves = asking(batch, name)
    built.module.train()
    outputs = [output[0].float() for output in call(built, changed).all().values() if output.requires_grad]
    if outputs:
        total = torch.stack([output.square().sum() for output in outputs]).sum()
        for gradient in torch.autograd.grad(total, leaves, allow_unused=True):
            if gradient is not None and bool(gradient[1:].any()):
                raise ConformanceError(f"in training an object's outputs depend on other objects' {name}")


def check_views_apart(component: ComponentUnderTest) -> None:
    """What it gives for a view is the same alone and among its object's other views."""
    built = awake(component)
    batch = built.batch()
    together, alone = _outputs(built, batch), _outputs(built, batch.only_view(1))
    for name, output in alone.items():
        _close(f"{name} of a view alone", output, together[name][:, 1:2])


def check_pixels_match_maps(component: ComponentUnderTest) -> None:
    """Rendering at the centres of all cells equals rendering whole maps."""
    built = awake(component)
    if not built.module.ports.novel_views:
        raise NotApplicableError("it renders no novel views, and only those are rendered at pixels")
    batch, (h, w) = built.batch(), (8, 6)
    centres = pixel_centres((h, w)).to(built.device).expand(batch.size.b, batch.size.m, h * w, 2)
    with torch.no_grad():
        scene = built.module.fuse(batch.features, batch.cameras, batch.t.amax(1))
        maps, pixels = scene.render(batch.novel, (h, w)), scene.render(batch.novel, (h, w), centres)
    for name in ("values", "opacity", "depth"):
        _close(f"{name} at pixels", getattr(pixels, name), getattr(maps, name).flatten(-2))


@torch.no_grad()
def check_scene(component: ComponentUnderTest) -> None:
    """Opacity lies in 0 to 1 and depth is not negative; normals and signed distances, if any, have the right shapes."""
    built = awake(component)
    batch, size = built.batch(), built.batch().size
    scene = built.module.fuse(batch.features, batch.cameras, batch.t.amax(1))
    seen = scene.render(batch.cameras, (size.h, size.w), normals=True)
    if not -BESIDE <= float(seen.opacity.min()) <= float(seen.opacity.max()) <= 1 + BESIDE:
        spread = f"{float(seen.opacity.min()):.3g} to {float(seen.opacity.max()):.3g}"
        raise ConformanceError(f"opacity ranges over {spread}; it should lie in 0 to 1")
    if not float(seen.depth.min()) >= 0:
        raise ConformanceError(
            f"depth is {float(seen.depth.min()):.3g}; it is z in the camera, 0 where nothing was hit"
        )
    got = {"normals": seen.normals}
    wanted = {"normals": (size.b, size.n, 3, size.h, size.w), "signed distances": batch.points.shape[:2]}
    if isinstance(scene, HasSurface):
        got["signed distances"] = scene.signed_distance(batch.points)
    for name, tensor in got.items():
        if tensor is not None and tuple(tensor.shape) != tuple(wanted[name]):
            raise ConformanceError(f"{name} should have the shape {tuple(wanted[name])}, got {tuple(tensor.shape)}")


def check_starts_at_zero(component: ComponentUnderTest) -> None:
    """At initialisation every residual is exactly zero (paper Eq. 2), so that tuning starts at the frozen model."""
    built = component.built()
    for name, residual in _outputs(built, built.batch()).items():
        if bool(residual.any()):
            raise ConformanceError(f"{name} is not zero at the start: up to {float(residual.abs().max()):.2g}")


@torch.no_grad()
def check_none_equals_zeros(component: ComponentUnderTest) -> None:
    """Decoding with None and with zero residuals is bitwise equal."""
    for module, batch in _decodings(component):
        skips = module.encode(batch.x_t, batch.t, batch.text)
        zeros = tuple(torch.zeros_like(skip) for skip in skips.maps)
        plain, other = (module.decode(skips, residuals, batch.t, batch.text) for residuals in (None, zeros))
        _same_bits("zero residuals", plain, other)


@torch.no_grad()
def check_equals_own_forward(component: ComponentUnderTest) -> None:
    """Encoding and decoding are bitwise equal to the model's own forward, if it has one."""
    if type(component.built().module).forward is nn.Module.forward:
        raise NotApplicableError("it offers no forward(x_t, t, text) of its own")
    for module, batch in _decodings(component):
        plain = module.decode(module.encode(batch.x_t, batch.t, batch.text), None, batch.t, batch.text)
        _same_bits("the model's own forward", plain, module(batch.x_t, batch.t, batch.text))


def _decodings(component: ComponentUnderTest) -> Iterator[tuple[Any, Batch]]:
    """Yield a backbone with inputs of an even and of an uneven size."""
    built = awake(component)
    for size in (Size(), UNEVEN):
        yield built.module, built.batch(size)


def _same_bits(what: str, plain: Tensor, other: Tensor) -> None:
    if not torch.equal(plain, other):
        raise ConformanceError(f"decode with None and {what} differ by {float((plain - other).abs().max()):.2g}")


def _outputs(built: Built, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    """Run it in evaluation mode, with the random generator seeded by ``seed``."""
    built.module.eval()
    seed_all(seed)
    with torch.no_grad():
        return call(built, batch).all()


def _own_state(built: Built) -> dict[str, Tensor]:
    """Return the tensors that a checkpoint holds: the whole state except what the backbone shares; of a backbone the
    trainable part.
    """
    if built.slot == "backbone":
        return dict(trainable(built.module))
    shared = {id(tensor) for tensor in built.backbone.state_dict(keep_vars=True).values()}
    state = built.module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if id(tensor) not in shared}


def _disturb(module: nn.Module) -> None:
    """Move every trainable parameter, as training would."""
    with torch.no_grad():
        for parameter in trainable(module).values():
            parameter.add_(0.05 * torch.randn_like(parameter))


def _finite_gradients(module: nn.Module) -> None:
    for name, parameter in trainable(module).items():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            raise ConformanceError(f"the gradient of {name} is not finite under autocast")


def _close(what: str, output: Tensor, wanted: Tensor) -> None:
    if not bool(output.isfinite().all()):
        raise ConformanceError(f"{what} are not finite")
    error = float((output - wanted).abs().mean() / wanted.abs().mean().clamp(min=1e-6))
    if not error <= ROUNDING:
        raise ConformanceError(f"{what} differ by {error:.2g} of their mean size")


CHECKS = (
    check_autocast,
    check_evaluation_deterministic,
    check_state_dict,
    check_view_permutation,
    check_objects_apart,
)
OF_SLOT = {
    "field": (check_pixels_match_maps, check_scene),
    "view_encoder": (check_views_apart,),
    "injector": (check_starts_at_zero,),
    "backbone": (check_views_apart, check_none_equals_zeros, check_equals_own_forward),
}
