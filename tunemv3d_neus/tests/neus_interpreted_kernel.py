"""Run by ``test_neus_kernels`` in its own process, because Triton's interpreter is chosen when kernels are defined.

Prints, for float32 and bfloat16 maps, the largest error of the fused kernel and of its gradient against the plain
path in float64.
"""

import json

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.view_features import mean_variance
from tunemv3d_neus.kernels.mean_variance import fused_mean_variance

torch.manual_seed(0)
b, n, h, w, p = 2, 3, 6, 5, 40
errors = {}
for f in (5, 16):
    for dtype in (torch.float32, torch.bfloat16):
        cameras = Cameras.look_at(torch.nn.functional.normalize(torch.randn(b, n, 3), dim=-1) * 1.5, focal=1.6)
        points = torch.rand(b, p, 3) * 6 - 3  # some behind cameras, some outside images, some seen by nobody
        points[:, ::2] *= 0.2
        features = (10 + torch.randn(b, n, h, w, f)).to(dtype).permute(0, 1, 4, 2, 3).requires_grad_()  # not contiguous
        weights = torch.randn(b, p, 2 * f + 1)
        weights[:, 3] = 0  # a point without a gradient
        fused = fused_mean_variance(features, cameras, points)
        (got,) = torch.autograd.grad((fused * weights).sum(), features)
        exact = features.detach().double().requires_grad_()
        plain = mean_variance(exact, cameras.to(torch.float64), points.double())
        (want,) = torch.autograd.grad((plain * weights.double()).sum(), exact)
        errors[f"{f} {dtype}"] = {
            "seen_by": sorted({round(float(v) * n) for v in plain[..., -1].detach().flatten()}),
            "forward": float((fused - plain).detach().abs().max()),
            "backward": float((got.double() - want).abs().max() / want.abs().max()),
            "dtype": str(fused.dtype) + " " + str(got.dtype),
        }
print(json.dumps(errors))
