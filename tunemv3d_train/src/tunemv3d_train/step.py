"""One training step as one forward of one module: DDP, torch.compile and CUDA graphs see nothing else."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Unpack, cast

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import LossSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ShapeError, SpecError
from tunemv3d_core.slots import Loss, Prediction, Scene, Targets
from tunemv3d_core.types import Text
from tunemv3d_train import losses
from tunemv3d_train.batches import Batch
from tunemv3d_train.hooks import Reporters
from tunemv3d_train.loss_terms import build_terms, checked_scene_losses, weights_of
from tunemv3d_train.maps import needed_maps
from tunemv3d_train.watchdog import ALPHA, OPACITY


class TrainingStep(nn.Module):
    """A step from clean latents, noise and t to the total loss (paper Eq. 3). Nothing inside waits for the device.

    Args:
        model: the model; without a field its backbone alone is tuned, on L_denoise and the spec's further terms.
        inputs: n; the further views of a batch are novel ones.
        spec: the losses.
        maps: channels of the maps that the dataset has beside its pictures, by name.

    Attributes:
        terms: the spec's further losses by name.
        maps: channels of the maps that they need, in the order of a batch's.

    Raises:
        TuneMV3DError: a further loss cannot be built, or needs a map that there is not.
    """

    def __init__(
        self, model: MultiviewDiffusion, inputs: int, spec: LossSpec, maps: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.spec = spec
        backbone = model.backbone
        self._tunes_2d = any(p.requires_grad for p in cast(nn.Module, backbone).parameters())
        last = torch.tensor(float(backbone.ports.train_timesteps - 1))
        if spec.target == "x_prev" and not float(backbone.alphas_cumprod(last)):
            raise SpecError(
                "loss.target: 'x_prev' has no finite weight at a last timestep without signal; use 'backbone'"
            )
        self._weigh = losses.weigher(backbone.ports.prediction, spec.target, spec.weighting, backbone.alphas_cumprod)
        self._weights = weights_of(spec)
        self._losses: dict[str, Loss] = {}
        if model.field is not None:
            self._losses["mask"] = losses.mask
            if model.field.ports.gives == "latents":
                self._losses["neus"] = losses.neus
        self.terms = build_terms(spec, model)
        self.maps = needed_maps(self.terms, maps)
        self._reporters = Reporters(model, self.terms)

    def forward(self, **batch: Unpack[Batch]) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the total loss and its parts.

        Returns:
            A scalar with gradient, and detached losses by name: scalars, and for the names that end in "/t" sums and
            counts over the views in ranges of t (``losses.by_level``). "denoise_frozen/t" is there where the model
            asks the frozen one anyway. With a field also what the watchdog reads (``watchdog.OPACITY``, ``ALPHA``), and
            what components and losses report (``hooks.Reporters``).

        Raises:
            TuneMV3DError: a loss of the scene or a further term is not what it should be.
        """
        prediction, targets = self.predict(batch)
        denoise, errors = losses.denoise(prediction, targets), self.view_losses(prediction, targets)
        parts = {"denoise": losses.weighed(denoise, self._weigh(targets.t), targets.is_clean)}
        parts |= {name: views.mean() for name, views in errors.items()}
        if prediction.scene is not None and any(self.spec.scene.values()):
            parts |= self.scene_losses(prediction.scene)
        levels = {"denoise": self._levels(denoise, targets.t, ~targets.is_clean)}
        if prediction.frozen is not None and not self._tunes_2d:
            frozen = losses.squared_error(prediction.frozen, targets.prediction)
            levels["denoise_frozen"] = self._levels(frozen, targets.t, ~targets.is_clean)
        levels |= {name: self._levels(views, targets.t.amax(1, keepdim=True)) for name, views in errors.items()}
        total = self._total(parts)
        detached = {name: part.detach() for name, part in parts.items()}
        if prediction.rendering is not None:
            detached |= {OPACITY: prediction.rendering.opacity.detach().float().mean(), ALPHA: targets.alpha.mean()}
        reported = self._reporters()
        by_level = {f"{name}/t": both for name, both in levels.items()}
        return total, {"loss": total.detach(), **detached, **by_level, **reported}

    def eps_factor(self) -> float:
        """Return the factor on AdamW's eps that L_denoise's weights ask for (``losses.eps_factor``)."""
        return losses.eps_factor(self._weigh, self.model.backbone.ports.train_timesteps, self.model.device)

    def predict(self, batch: Batch) -> tuple[Prediction, Targets]:
        """Run the model on a batch and lay beside its prediction what it is compared with."""
        n, latents, alpha, t = self.inputs, batch["latents"], batch["alpha"], batch["t"]
        backbone, (h, w) = self.model.backbone, latents.shape[-2:]
        cameras, cells = Cameras(batch["poses"], batch["intrinsics"]), batch.get("novel_pixels")
        text = Text(batch["tokens"], batch.get("pooled"), batch.get("mask"))
        noisy = backbone.add_noise(latents[:, :n], batch["noise"], t)
        x_t = torch.where(batch["is_clean"][..., None, None, None], latents[:, :n], noisy)
        novel = cameras[:, n:] if latents.shape[1] > n and self.model.field is not None else None
        pixels = None if cells is None else cell_centres(cells, h, w)
        prediction = self.model(x_t, t, text, cameras[:, :n], novel, pixels)
        novel_latents, novel_alpha = (None, None) if novel is None else (latents[:, n:], alpha[:, n:])
        if cells is not None and novel_latents is not None and novel_alpha is not None:
            novel_latents = at_cells(novel_latents, cells)
            novel_alpha = at_cells(novel_alpha[:, :, None], cells)[:, :, 0]
        maps, novel_maps = self._maps(batch, None if novel is None else cells)
        targets = Targets(
            latents=latents[:, :n],
            alpha=alpha[:, :n],
            x_t=x_t,
            prediction=backbone.target(latents[:, :n], batch["noise"], t),
            t=t,
            is_clean=batch["is_clean"],
            text=text,
            cameras=cameras[:, :n],
            novel_cameras=novel,
            novel_pixels=pixels,
            novel_latents=novel_latents,
            novel_alpha=novel_alpha,
            maps=maps,
            novel_maps={} if novel is None else novel_maps,
        )
        return prediction, targets

    def _maps(self, batch: Batch, cells: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the maps that losses need by name, of the input views and of the novel ones, these at ``cells``."""
        if "maps" not in batch:
            return {}, {}
        inputs, novel = batch["maps"][:, : self.inputs], batch["maps"][:, self.inputs :]
        each = [inputs, novel if cells is None else at_cells(novel, cells)]
        mine, theirs = (torch.split(maps, list(self.maps.values()), dim=2) for maps in each)
        return dict(zip(self.maps, mine, strict=True)), dict(zip(self.maps, theirs, strict=True))

    def view_losses(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        """Compute what the field renders against the pictures, and the spec's further terms, before their weights.

        Returns:
            Losses of each view by name, ``b n`` or ``b (n + m)``.

        Raises:
            ShapeError: a further term is of another shape.
        """
        errors = {name: loss(prediction, targets) for name, loss in self._losses.items()}
        b, n = targets.t.shape
        shapes = {(b, n), (b, n + (0 if targets.novel_alpha is None else targets.novel_alpha.shape[1]))}
        for name, term in self.terms.items():
            views = term(prediction, targets)
            shape = tuple(views.shape) if isinstance(views, Tensor) else type(views).__name__
            if shape not in shapes:
                wanted = " or ".join(map(str, sorted(shapes)))
                raise ShapeError(
                    f"loss.terms.{name}: the loss '{self.spec.terms[name].type}' gives a tensor of shape {shape}; "
                    f"one number per view is of shape {wanted}"
                )
            errors[name] = views.to(torch.promote_types(views.dtype, torch.float32))
        return errors

    def scene_losses(self, scene: Scene) -> dict[str, Tensor]:
        """Return the scene's own losses, before their weights.

        Raises:
            TuneMV3DError: they are no scalars, have names of ours, or are others than ``loss.scene`` weighs.
        """
        return checked_scene_losses(scene, self.spec, self.model.components)

    @torch.no_grad()
    def check(self, batch: Batch) -> None:
        """Refuse losses that are not finite, have the wrong shape, or are weighed though nothing gives them.

        Raises:
            TuneMV3DError: names the loss, and the field or the term.
        """
        training = self.training
        self.eval()
        prediction, targets = self.predict(batch)
        found = {"denoise": losses.denoise(prediction, targets), **self.view_losses(prediction, targets)}
        if prediction.scene is not None:
            found |= self.scene_losses(prediction.scene)
        self._reporters()
        self.train(training)
        for name, loss in found.items():
            if not bool(loss.isfinite().all()):
                numbers = loss.flatten()
                first = float(numbers[~numbers.isfinite()][0])
                raise SpecError(f"{self._place(name)} is {first} before the first step; it should be finite")

    def _place(self, name: str) -> str:
        """Name a loss where a spec weighs it, with whatever gives it."""
        if name in self.spec.terms:
            return f"loss.terms.{name}: the loss '{self.spec.terms[name].type}'"
        if name in self.spec.scene:
            return f"loss.scene.{name}: the loss that the field '{self.model.components['field'].type}' gives"
        return f"loss.{name}: it"

    def _levels(self, errors: Tensor, t: Tensor, counted: Tensor | None = None) -> Tensor:
        counted = torch.ones_like(errors, dtype=torch.bool) if counted is None else counted
        timesteps = self.model.backbone.ports.train_timesteps
        return losses.by_level(errors, counted, t.expand_as(errors), timesteps)

    def _total(self, parts: dict[str, Tensor]) -> Tensor:
        """Sum the parts by their weights; one of weight 0 is left out, so that it costs no backward pass."""
        terms = [weight * part for name, part in parts.items() if (weight := self._weights[name])]
        return torch.stack(terms).sum() if terms else torch.zeros_like(parts["denoise"])


def cell_centres(cells: Tensor, h: int, w: int) -> Tensor:
    """Map flat indices ``b m r`` of an (h, w) map's cells to their centres (x, y) as fractions, ``b m r 2``."""
    column, row = cells % w, torch.div(cells, w, rounding_mode="floor")
    return torch.stack([(column + 0.5) / w, (row + 0.5) / h], dim=-1)


def at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Take the values of ``b m v h w`` at flat indices ``b m r``: ``b m v r``."""
    index = cells[:, :, None].expand(-1, -1, maps.shape[2], -1)
    return maps.flatten(3).gather(3, index)
