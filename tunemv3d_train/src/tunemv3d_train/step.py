"""One training step as one forward of one module: DDP, torch.compile and CUDA graphs see nothing else."""

from typing import cast

import torch
from torch import Tensor, nn

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import LossSpec
from tunemv3d_core.diffusion import MultiviewDiffusion, Prediction
from tunemv3d_core.errors import SpecError
from tunemv3d_core.types import Text
from tunemv3d_train import losses


class TrainingStep(nn.Module):
    """From clean latents, noise and t to the total loss (paper Eq. 3). Nothing inside waits for the device.

    Args:
        model: the model; without a field its backbone alone is tuned on L_denoise.
        inputs: n; the further views of a batch are novel ones.
        weights: of the losses; a scene's own losses are weighed by the field of their name.
    """

    def __init__(self, model: MultiviewDiffusion, inputs: int, weights: LossSpec) -> None:
        super().__init__()
        self.model = model
        self.inputs = inputs
        self.weights = weights
        backbone = model.backbone
        self._tunes_2d = any(p.requires_grad for p in cast(nn.Module, backbone).parameters())
        last = torch.tensor(float(backbone.ports.train_timesteps - 1))
        if weights.target == "x_prev" and not float(backbone.alphas_cumprod(last)):
            raise SpecError(
                "loss.target: 'x_prev' has no finite weight at a last timestep without signal; use 'backbone'"
            )
        self._weigh = losses.weigher(
            backbone.ports.prediction, weights.target, weights.weighting, backbone.alphas_cumprod
        )

    def forward(
        self,
        latents: Tensor,
        alpha: Tensor,
        noise: Tensor,
        t: Tensor,
        is_clean: Tensor,
        poses: Tensor,
        intrinsics: Tensor,
        tokens: Tensor,
        pooled: Tensor | None = None,
        mask: Tensor | None = None,
        novel_pixels: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The total loss and its parts.

        Args:
            latents: ``b (n + m) c h w``, clean; the n input views first.
            alpha: ``b (n + m) h w`` in [0, 1], averaged down to latent cells.
            noise: ``b n c h w``.
            t: ``b n``.
            is_clean: ``b n`` boolean.
            poses: ``b (n + m) 4 4``, camera to world.
            intrinsics: ``b (n + m) 4``.
            tokens: ``b l d``, with ``pooled`` and ``mask`` a ``Text``.
            pooled: ``b d'``.
            mask: ``b l``.
            novel_pixels: ``b m r``, flat indices of the novel views' cells to render; None renders all.

        Returns:
            A scalar with gradient, and detached losses by name: scalars, and for the names that end in "/t" sums and
            counts over the views in ranges of t (``losses.by_level``). "denoise_frozen/t" is there where the model
            asks the frozen one anyway.
        """
        n = self.inputs
        cameras = Cameras(poses, intrinsics)
        text = Text(tokens, pooled, mask)
        noisy = self.model.backbone.add_noise(latents[:, :n], noise, t)
        x_t = torch.where(is_clean[..., None, None, None], latents[:, :n], noisy)
        novel = cameras[:, n:] if latents.shape[1] > n and self.model.field is not None else None
        h, w = latents.shape[-2:]
        at = None if novel_pixels is None else cell_centres(novel_pixels, h, w)
        prediction = self.model(x_t, t, text, cameras[:, :n], novel, at)
        target = self.model.backbone.target(latents[:, :n], noise, t)
        parts = {"denoise": losses.denoise(prediction.modulated, target, self._weigh(t), is_clean)}
        levels = self._denoise_levels(prediction, target, t, is_clean)
        if prediction.scene is not None:
            errors = self._field_errors(prediction, latents, alpha, novel_pixels)
            parts |= {name: views.mean() for name, views in errors.items()}
            levels |= {name: self._levels(views, t.amax(1, keepdim=True)) for name, views in errors.items()}
            if self.weights.eikonal or self.weights.sparsity:
                parts |= prediction.scene.losses()
        total = self._total(parts)
        told = {name: part.detach() for name, part in parts.items()}
        return total, {"loss": total.detach(), **told, **{f"{name}/t": both for name, both in levels.items()}}

    def _denoise_levels(self, prediction: Prediction, target: Tensor, t: Tensor, is_clean: Tensor) -> dict[str, Tensor]:
        """L_denoise without its weights, of the modulated model and of the frozen one on the same noise."""
        seen = {"denoise": prediction.modulated, "denoise_frozen": None if self._tunes_2d else prediction.frozen}
        return {
            name: self._levels(losses.per_view_error(predicted, target), t, ~is_clean)
            for name, predicted in seen.items()
            if predicted is not None
        }

    def _field_errors(
        self, prediction: Prediction, latents: Tensor, alpha: Tensor, novel_pixels: Tensor | None
    ) -> dict[str, Tensor]:
        """What the field renders against the pictures, for each view ``b (n + m)``."""
        assert self.model.field is not None and prediction.rendering is not None and prediction.x0 is not None
        n, novel = self.inputs, prediction.novel
        target, seen = latents[:, n:], alpha[:, n:]
        if novel_pixels is not None:
            target, seen = at_cells(target, novel_pixels), at_cells(seen[:, :, None], novel_pixels)[:, :, 0]
        opacity = None if novel is None else novel.opacity
        errors = {"mask": losses.mask(prediction.rendering.opacity, alpha[:, :n], opacity, seen)}
        if self.model.field.ports.gives == "latents":
            errors["neus"] = losses.neus(prediction.x0, latents[:, :n], prediction.novel_x0, target)
        return errors

    def _levels(self, errors: Tensor, t: Tensor, counted: Tensor | None = None) -> Tensor:
        counted = torch.ones_like(errors, dtype=torch.bool) if counted is None else counted
        timesteps = self.model.backbone.ports.train_timesteps
        return losses.by_level(errors, counted, t.expand_as(errors), timesteps)

    def _total(self, parts: dict[str, Tensor]) -> Tensor:
        """The weighted sum; a term of weight 0 is left out, so that it costs no backward pass."""
        terms = [weight * part for name, part in parts.items() if (weight := getattr(self.weights, name, 0.0))]
        return torch.stack(terms).sum() if terms else torch.zeros_like(parts["denoise"])


def cell_centres(cells: Tensor, h: int, w: int) -> Tensor:
    """Flat indices ``b m r`` of an (h, w) map's cells to their centres (x, y) as fractions, ``b m r 2``."""
    column, row = cells % w, torch.div(cells, w, rounding_mode="floor")
    return torch.stack([(column + 0.5) / w, (row + 0.5) / h], dim=-1)


def at_cells(maps: Tensor, cells: Tensor) -> Tensor:
    """Values of ``b m v h w`` at flat indices ``b m r``: ``b m v r``."""
    index = cells[:, :, None].expand(-1, -1, maps.shape[2], -1)
    return maps.flatten(3).gather(3, index)
