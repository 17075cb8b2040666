"""Checks of a backbone: its schedule, autoencoder, prompts and residuals, and the copies of its encoder."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import ComponentUnderTest, awake

EXACT = 1e-3
"""Largest error of formulas, as a share of the mean size."""

FIELDS = (
    (0.6, -0.4, -0.5),
    (-0.2, 0.4, -0.4),
    (-0.5, -0.3, 0.5),
    (0.6, 0.3, -0.4),
    (-0.7, -0.7, -0.7),
    (0.9, 0.9, 0.9),
)
"""Colours of a picture's fields, two rows of three."""

SHIFT, CONTRAST, COLOUR = 0.25, (0.6, 1.6), 0.3
"""How much brighter a picture may come back, and how much of its contrast and colour: small autoencoders are rough."""

TIMES = (0.0, 130.0, 420.5, 800.0)
"""Of a schedule of 1000."""


@torch.no_grad()
def check_schedule(component: ComponentUnderTest) -> None:
    """Noise, targets and x0 follow one schedule, each view by its own t: the target at x_t gives the latents back."""
    module, device = component.built().module, component.device
    share = module.ports.train_timesteps / 1000
    t = torch.tensor([[share * time for time in TIMES]], device=device)
    latents, noise = torch.randn(2, 1, len(TIMES), module.ports.latent_channels, 8, 8, device=device)
    x_t, target, alphas = (
        module.add_noise(latents, noise, t),
        module.target(latents, noise, t),
        module.alphas_cumprod(t),
    )
    if not bool((alphas > 0).all() & (alphas <= 1).all() & (alphas.diff() < 0).all()):
        raise ConformanceError(f"alphas_cumprod at t = {t.tolist()[0]} are {alphas.tolist()[0]}: they fall from 1 to 0")
    signal, spread = alphas.sqrt()[..., None, None, None], (1 - alphas).sqrt()[..., None, None, None]
    wanted: dict[str, Tensor] = {
        "epsilon": noise,
        "sample": latents,
        "v_prediction": signal * noise - spread * latents,
        "flow": noise - latents,
    }
    _near(f"target of '{module.ports.prediction}'", target, wanted[module.ports.prediction])
    if module.ports.prediction != "flow":
        _near("add_noise", x_t, signal * latents + spread * noise)
    _near("predict_x0 of the target", module.predict_x0(target, x_t, t), latents)


@torch.no_grad()
def check_pictures_come_back(component: ComponentUnderTest) -> None:
    """A picture of plain fields comes back from its latents about as it was: its range, its colours, its place."""
    module = component.built().module
    side = 8 * module.ports.image_stride
    fields = torch.tensor(FIELDS).mT.reshape(1, 1, 3, 2, 3)
    pictures = fields.repeat_interleave(side, -2).repeat_interleave(side, -1).to(component.device)
    latents = module.encode_images(pictures)
    if not torch.equal(latents, module.encode_images(pictures)):
        raise ConformanceError("encode_images gives other latents for the same picture: the mean is asked, no sample")
    back = module.decode_latents(latents).float()
    shift = float(back.mean() - pictures.mean())
    contrast = _share(back - back.mean(), pictures - pictures.mean())
    colour = _share(back - back.mean(2, keepdim=True), pictures - pictures.mean(2, keepdim=True))
    if not (abs(shift) <= SHIFT and CONTRAST[0] <= contrast <= CONTRAST[1] and colour >= COLOUR):
        raise ConformanceError(
            f"a picture comes back {shift:+.2f} brighter, with {contrast:.2f} of its contrast, {colour:.2f} of its "
            "colour: is the latents' scale undone, are pictures in -1 to 1, as red, green and blue, row 0 at the top?"
        )


@torch.no_grad()
def check_prompts_apart(component: ComponentUnderTest) -> None:
    """A prompt is encoded the same, and as long, alone and beside a longer one."""
    module = component.built().module.eval()
    prompts = ["a red chair", "", "a tall green lamp with a very long arm and a shade of paper"]
    together = module.encode_text(prompts)
    for row, prompt in enumerate(prompts):
        alone = module.encode_text([prompt])
        for name in ("tokens", "pooled", "mask"):
            one, among = getattr(alone, name), getattr(together, name)
            if one is None and among is None:
                continue
            if one is None or among is None or one.shape[1:] != among.shape[1:]:
                raise ConformanceError(f"{name} of '{prompt}' have other shapes alone than beside others")
            _near(f"{name} of '{prompt}' alone", one[0].float(), among[row].float())


@torch.no_grad()
def check_residuals_added(component: ComponentUnderTest) -> None:
    """Decoding with residuals equals decoding skips to which they were added."""
    built = awake(component)
    batch = built.batch()
    residuals = tuple(each.flatten(0, 1) for each in batch.maps)
    skips = built.module.encode(batch.x_t, batch.t, batch.text)
    summed = replace(skips, maps=tuple(skip + each for skip, each in zip(skips.maps, residuals, strict=True)))
    with_sums = built.module.decode(summed, None, batch.t, batch.text)
    with_residuals = built.module.decode(skips, residuals, batch.t, batch.text)
    _near("decode with residuals", with_residuals, with_sums)


def check_copied_encoder(component: ComponentUnderTest) -> None:
    """``copy_encoder`` gives encode's maps; its weights are copies that learn, or with ``share`` its own, frozen."""
    built = component.built()
    batch, own = built.batch(), {id(parameter) for parameter in built.module.parameters()}
    module: Any = built.module.eval()
    maps = module.encode(batch.x_t, batch.t, batch.text).maps
    for share in (False, True):
        copy: nn.Module = module.copy_encoder(share=share).eval()
        whose = f"copy_encoder({'share=True' if share else ''})"
        parameters = list(copy.parameters())
        if any(parameter.requires_grad == share for parameter in parameters):
            raise ConformanceError(f"{whose} has parameters that are {'not ' if share else ''}frozen")
        if any((id(parameter) in own) != share for parameter in parameters):
            raise ConformanceError(f"{whose} has parameters that are {'not ' if share else ''}the backbone's own")
        with torch.no_grad():
            for k, (given, wanted) in enumerate(zip(copy(batch.x_t, batch.t, batch.text), maps, strict=True)):
                _near(f"map {k} of {whose}", given, wanted)
            hint = torch.ones_like(maps[0])
            for k, (given, wanted) in enumerate(zip(copy(batch.x_t, batch.t, batch.text, hint), maps, strict=True)):
                if bool(torch.isclose(given, wanted).all()):
                    raise ConformanceError(f"map {k} of {whose} does not change with its hint")


def _share(given: Tensor, wanted: Tensor) -> float:
    """Return how much of what is wanted is in what is given: 1 where they are equal, 0 where they share nothing."""
    return float((given * wanted).sum() / wanted.square().sum())


def _near(what: str, given: Tensor, wanted: Tensor) -> None:
    if given.shape != wanted.shape:
        raise ConformanceError(f"{what} has the shape {tuple(given.shape)}; {tuple(wanted.shape)} is asked")
    error = float((given - wanted).abs().mean() / wanted.abs().mean().clamp(min=1e-6))
    if not error <= EXACT:
        raise ConformanceError(f"{what} is off by {error:.2g} of its mean size")


CHECKS = ()
OF_SLOT = {
    "backbone": (
        check_schedule,
        check_pictures_come_back,
        check_prompts_apart,
        check_residuals_added,
        check_copied_encoder,
    )
}
