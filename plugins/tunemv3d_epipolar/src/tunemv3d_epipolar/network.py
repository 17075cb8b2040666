"""Densities of points and values of rays, from what the views show on the rays' epipolar lines.

Axes: b objects, n views, f feature channels, v value channels, r rays, s samples per ray, p = r s points.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tunemv3d_core.layers import zero_init
from tunemv3d_core.rendering.encoding import embed_noise_level, encode_points
from tunemv3d_core.rendering.precision import full_precision
from tunemv3d_core.rendering.view_features import ViewFeatures
from tunemv3d_epipolar.spec import EpipolarSpec

INITIAL_RADIUS = 0.5
"""Radius of the ball that density starts from, world units."""

SLOPE = 10.0
"""Density is slope softplus(slope (0.5 - |p| + change)), per world unit: the first ball's rim is about 0.2 wide."""

FREQUENCIES, OMEGA = 6, 1.5
"""Number of the point encoding's frequencies, and the lowest, radians per world unit (paper Eq. 1)."""

RELATIVE = 4
"""Channels of a view's direction relative to the ray's: their difference and their cosine, as in IBRNet."""


class EpipolarNetwork(nn.Module):
    """A density of each point, and values of each ray.

    The density of a point sees neither the ray's direction nor its other samples: all rays meet one density. Last
    layers start at zero: at first there is a ball of the latent zero (white), whatever the features and t. Features
    reach density and values through skip connections too (``*_agg``).
    """

    def __init__(self, spec: EpipolarSpec, features: int, values: int) -> None:
        super().__init__()
        self.heads, hidden = spec.heads, spec.hidden
        pooled, blended = 2 * features + 1, spec.heads * features
        self.time = nn.Linear(hidden, hidden)
        self.fc_in = nn.Linear(3 + 6 * FREQUENCIES + pooled, hidden)
        self.fc_out = nn.Linear(hidden, hidden)
        self.density = zero_init(nn.Linear(hidden, 1))
        self.density_agg = zero_init(nn.Linear(pooled, 1, bias=False))
        self.query = nn.Linear(hidden, spec.heads * (features + RELATIVE))
        self.fc_blended = nn.Linear(blended, hidden)
        layer = nn.TransformerEncoderLayer(
            hidden, spec.heads, 2 * hidden, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.rays = nn.TransformerEncoder(layer, spec.layers, nn.LayerNorm(hidden), enable_nested_tensor=False)
        value_out = nn.Linear(hidden, values)
        # Rendered features start at random: of zero ones an injector that is zero as well would never learn.
        self.value_out = zero_init(value_out) if spec.gives == "latents" else value_out
        self.value_agg = zero_init(nn.Linear(blended, values, bias=False))

    def forward(self, points: Tensor, directions: Tensor, views: ViewFeatures, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return densities ``b r s``, float32, per world unit, and values ``b r s v``.

        Args:
            points: ``b r s 3``, world units.
            directions: ``b r 3``, unit vectors of the rays.
            views: of the points ``b (r s) 3``.
            t: ``b``, noise levels.
        """
        rays, samples = points.shape[1:3]
        hidden, density = self.points(points.flatten(1, 2), views, t)
        blended = self.blend(hidden, directions.repeat_interleave(samples, dim=1), views)
        tokens = torch.unflatten(hidden + self.fc_blended(blended), 1, (rays, samples))
        attended = self.rays(tokens.flatten(0, 1)).reshape(tokens.shape)
        values: Tensor = self.value_out(attended) + torch.unflatten(self.value_agg(blended), 1, (rays, samples))
        return torch.unflatten(density, 1, (rays, samples)), values

    def points(self, points: Tensor, views: ViewFeatures, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden features ``b p hidden`` and densities ``b p``, float32, of points ``b p 3`` by themselves."""
        with full_precision(points):
            mean, variance = views.moments(views.visible)
            count = views.visible.sum(-1, keepdim=True)
            # Not the share of views: one that does not see the point must change nothing.
            pooled = torch.cat([mean, variance, count / (1 + count)], dim=-1)
            inputs = torch.cat([points, encode_points(points, FREQUENCIES, OMEGA), pooled], dim=-1)
        time = self.time(embed_noise_level(t, self.time.in_features))[:, None]
        hidden = F.silu(self.fc_out(F.silu(self.fc_in(inputs) + time)))
        with full_precision(points):
            ball = INITIAL_RADIUS - torch.linalg.vector_norm(points, dim=-1)
            change = torch.squeeze(self.density(hidden.float()) + self.density_agg(pooled), -1)
            return hidden, SLOPE * F.softplus(SLOPE * (ball + change))

    def blend(self, hidden: Tensor, directions: Tensor, views: ViewFeatures) -> Tensor:
        """Blend the features of the views that see a point, by what they show and how close to the ray they look.

        Keys and values are the views as they are; the points' queries are learned. Zero where no view sees the point.

        Args:
            hidden: ``b p hidden``.
            directions: ``b p 3``, unit vectors of the points' rays.
            views: of the points.

        Returns:
            ``b p (heads f)``.
        """
        along = directions[:, :, None]
        cosine = (along * views.directions).sum(-1, keepdim=True)
        visible = views.visible[:, :, None]  # b p 1 n
        keys = torch.cat([views.features, along - views.directions, cosine], dim=-1)
        query = torch.unflatten(self.query(hidden), -1, (self.heads, -1))
        logits = (query @ keys.mT).float() / keys.shape[-1] ** 0.5
        # A softmax over no view would be NaN.
        weights = logits.masked_fill(visible == 0, torch.finfo(logits.dtype).min).softmax(-1) * visible
        blended: Tensor = weights @ views.features
        return blended.flatten(2)
