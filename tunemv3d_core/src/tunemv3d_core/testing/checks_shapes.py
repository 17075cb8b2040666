"""Checks that a component builds, and that its outputs have the shapes, dtypes and devices that it promises."""

import inspect

import torch
from torch import Tensor, nn

from tunemv3d_core import shapes
from tunemv3d_core.assemble import check_ports
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.ports import BackbonePorts, FieldPorts, InjectorPorts, LifterPorts, ViewEncoderPorts
from tunemv3d_core.testing.batches import UNEVEN, Size
from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import Built, ComponentUnderTest
from tunemv3d_core.testing.training_probe import call, promised
from tunemv3d_core.types import Rendering

SIZES = (Size(2, 3, 2, 8, 8), Size(1, 1, 1, 8, 16), Size(1, 2, 3, 16, 8), Size(1, 16, 1, 8, 8))

PORTS = {
    "backbone": BackbonePorts,
    "view_encoder": ViewEncoderPorts,
    "field": FieldPorts,
    "lifter": LifterPorts,
    "injector": InjectorPorts,
}


def check_builds(component: ComponentUnderTest) -> None:
    """It builds from its defaults and has ports that fit its neighbours."""
    built = component.built()
    if not isinstance(built.module, nn.Module):
        raise ConformanceError(f"build returned {type(built.module).__name__}, not a torch.nn.Module")
    if component.slot == "aggregator":
        if not isinstance(getattr(built.module, "channels", None), int):
            raise ConformanceError("an aggregator needs 'channels', the number of channels per point")
        return
    wanted, ports = PORTS[component.slot], getattr(built.module, "ports", None)
    if not isinstance(ports, wanted):
        raise ConformanceError(f"'ports' is {ports!r}, not {wanted.__name__}")
    if component.slot != "backbone":
        names = {slot: "stand-in" for slot in PORTS} | {component.slot: component.name}
        check_ports(component.slot, ports, built.neighbours, names)


def check_makes_scene(component: ComponentUnderTest) -> None:
    """What it fuses is a Scene: it has ``render`` and ``losses``, and renders cameras to a Rendering."""
    built = component.built()
    batch = built.batch()
    if not callable(getattr(built.module, "fuse", None)):
        raise ConformanceError("a field needs the method fuse(features, cameras, t)")
    scene = built.module.fuse(batch.features, batch.cameras, batch.t.amax(1))
    missing = [name for name in ("render", "losses") if not callable(getattr(scene, name, None))]
    if missing:
        raise ConformanceError(
            f"fuse gave {type(scene).__name__}, which has no {' and no '.join(missing)}: see tunemv3d_core.slots.Scene"
        )
    try:
        inspect.signature(scene.render).bind(batch.cameras, (8, 8), pixels=None, normals=True)
    except TypeError as error:
        raise ConformanceError(f"render(cameras, size, pixels=None, normals=False) cannot be called: {error}") from None
    with torch.no_grad():
        seen = scene.render(batch.cameras, (batch.size.h, batch.size.w))
    if not isinstance(seen, Rendering):
        raise ConformanceError(f"render gave {type(seen).__name__}, not a tunemv3d_core.types.Rendering")
    if not isinstance(losses := scene.losses(), dict):
        raise ConformanceError(f"losses gave {type(losses).__name__}, not tensors by name; {{}} if there are none")


def check_tensors_registered(component: ComponentUnderTest) -> None:
    """Every tensor that it holds, after a call too, is a parameter or a buffer, so that it moves with its module."""
    built = component.built()
    module = built.module
    with torch.no_grad():
        call(built, built.batch())
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            held = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else [value]
            # One that asks for gradients is found where they are checked; torch keeps its own in underscored dicts.
            if name.startswith("_") and isinstance(value, dict):
                continue
            if any(isinstance(each, Tensor) and not each.requires_grad for each in held):
                where = ".".join(filter(None, (path, name)))
                raise ConformanceError(
                    f"'{where}' holds a tensor that is neither a parameter nor a buffer: it stays behind when the "
                    "module moves to another device. Use register_buffer, persistent=False where it can be computed"
                )


def check_shapes(component: ComponentUnderTest) -> None:
    """Its outputs are finite and have the shapes of its ports, for several numbers of objects, views and cells."""
    _compare_shapes(component.built(), SIZES)


def check_uneven_sizes(component: ComponentUnderTest) -> None:
    """Outputs have the right shapes also where the latents' size is no multiple of the strides; sizes round up."""
    _compare_shapes(component.built(), (UNEVEN,))


def check_coarse_features(component: ComponentUnderTest) -> None:
    """It takes features of half the latents' resolution, or refuses such a view encoder when it is built."""
    try:
        built = component.built(stride=2)
    except TuneMV3DError:
        return
    _compare_shapes(built, (Size(), UNEVEN))


def check_image_shapes(component: ComponentUnderTest) -> None:
    """Texts, latents and pictures have the shapes that its ports promise."""
    module, device = component.built().module, component.device
    ports = module.ports
    text = module.encode_text(["a red chair", ""])
    _same("tokens", text.tokens, (2, text.tokens.shape[1], ports.text_channels))
    if ports.pooled_channels is not None:
        _same("pooled text", text.pooled, (2, ports.pooled_channels))
    images = torch.rand(1, 2, 3, 8 * ports.image_stride, 4 * ports.image_stride, device=device) * 2 - 1
    latents = module.encode_images(images)
    _same("latents of encode_images", latents, (1, 2, ports.latent_channels, 8, 4))
    _same("pictures of decode_latents", module.decode_latents(latents), tuple(images.shape))
    t = torch.full((1, 2), 300.0, device=device)
    for name in ("add_noise", "target", "predict_x0"):
        _same(name, getattr(module, name)(latents, torch.randn_like(latents), t), tuple(latents.shape))
    _same("alphas_cumprod", module.alphas_cumprod(t), (1, 2))


def check_dtype_kept(component: ComponentUnderTest) -> None:
    """Outputs have the dtype of the inputs, bfloat16 or float32; depths are float32, aggregated features may be."""
    for dtype in (torch.float32, torch.bfloat16):
        built = component.built(dtype)
        with torch.no_grad():
            outputs = call(built, built.batch(dtype=dtype)).all()
        for name, output in outputs.items():
            allowed = {torch.float32} if "depth" in name else {dtype}
            if component.slot == "aggregator":
                allowed.add(torch.float32)
            if output.dtype not in allowed:
                wanted = "; depths are always float32" if "depth" in name else ""
                raise ConformanceError(f"{name} are {output.dtype} for inputs of {dtype}{wanted}")


def check_device_kept(component: ComponentUnderTest) -> None:
    """It creates no tensor without a device: on a GPU it would be on the CPU."""
    built = component.built()
    batch = built.batch()
    # A tensor without a device lands on "meta", where it can neither be read nor combined with the inputs.
    try:
        with torch.no_grad(), torch.device("meta"):
            outputs = call(built, batch).all()
    except (RuntimeError, NotImplementedError) as error:
        raise ConformanceError(
            f"a tensor is created on the default device ({error}): pass the device of the inputs, device=x.device"
        ) from error
    for name, output in outputs.items():
        if output.device != batch.x_t.device:
            raise ConformanceError(
                f"{name} are created on the default device: pass the device of the inputs, device=x.device"
            )


def check_novel_views(component: ComponentUnderTest) -> None:
    """It renders cameras that are not input views, or refuses them by an error if novel_views is False."""
    built = component.built()
    batch = built.batch()
    scene = built.module.fuse(batch.features, batch.cameras, batch.t.amax(1))
    size = (batch.size.h, batch.size.w)
    if built.module.ports.novel_views:
        with torch.no_grad():
            values = scene.render(batch.novel, size).values
        if not bool(values.isfinite().all()):
            raise ConformanceError("novel views are not finite")
        return
    try:
        scene.render(batch.novel, size)
    except TuneMV3DError:
        return
    raise ConformanceError("ports have novel_views = False, but novel views are rendered: raise a CameraError instead")


def check_scene_losses(component: ComponentUnderTest) -> None:
    """A scene's own losses are finite scalars, with names that can be reported, the same in training and evaluation."""
    built, names = component.built(), []
    batch = built.batch()
    for training in (True, False):
        losses = built.module.train(training).fuse(batch.features, batch.cameras, batch.t.amax(1)).losses()
        shapes.check_scene_losses("its scene", losses)
        wrong = [name for name, loss in losses.items() if not bool(loss.isfinite())]
        if wrong:
            raise ConformanceError(f"the scene's loss '{wrong[0]}' is {losses[wrong[0]].item()}")
        names.append(sorted(losses))
    if names[0] != names[1]:
        raise ConformanceError(f"the scene gives the losses {names[0]} in training and {names[1]} in evaluation")


def _compare_shapes(built: Built, sizes: tuple[Size, ...]) -> None:
    for size in sizes:
        with torch.no_grad():
            outputs = call(built, built.batch(size)).all()
        wanted = promised(built, size)
        if outputs.keys() != wanted.keys():
            raise ConformanceError(f"ports promise {sorted(wanted)}, got {sorted(outputs)}")
        for name, shape in wanted.items():
            _same(f"{name} at {size}", outputs[name], shape)
            if not bool(outputs[name].isfinite().all()):
                raise ConformanceError(f"{name} at {size} are not finite")


def _same(what: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    got = None if tensor is None else tuple(tensor.shape)
    if got != shape:
        raise ConformanceError(f"{what}: ports promise {shape}, got {got}")


CHECKS = (check_builds, check_tensors_registered, check_shapes, check_uneven_sizes, check_dtype_kept, check_device_kept)
OF_SLOT = {
    "field": (check_makes_scene, check_coarse_features, check_novel_views, check_scene_losses),
    "aggregator": (check_coarse_features,),
    "backbone": (check_image_shapes,),
}
