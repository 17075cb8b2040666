"""The adapter's side of gsplat's documented interface; and gsplat itself, which needs a GPU and its compiler."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gaussians_naive import naive, random_gaussians
from torch import Tensor

from tunemv3d_core.cameras import Cameras, pixel_centres
from tunemv3d_gaussians import gsplat_backend
from tunemv3d_gaussians.splat import Gaussians, list_tiles, project, splat


def rasterization(
    means: Tensor, covars: Tensor, opacities: Tensor, colors: Tensor, viewmats: Tensor, Ks: Tensor, **options: object
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """What gsplat's documentation says of world-to-camera matrices, pinholes in pixels, covariances and RGB+ED."""
    assert options["quats"] is None and options["scales"] is None and options["render_mode"] == "RGB+ED"
    h, w = options["height"], options["width"]
    rows = []
    for view, lens in zip(viewmats.double().numpy(), Ks.double().numpy(), strict=True):
        splats = []
        for mean, covar, opacity, colour in zip(
            *(z.double().numpy() for z in (means, covars, opacities, colors)), strict=True
        ):
            x, y, z = view[:3, :3] @ mean + view[:3, 3]
            jacobian = np.array(
                [[lens[0, 0] / z, 0, -lens[0, 0] * x / z**2], [0, lens[1, 1] / z, -lens[1, 1] * y / z**2]]
            )
            flat = jacobian @ view[:3, :3] @ covar @ view[:3, :3].T @ jacobian.T + options["eps2d"] * np.eye(2)
            centre = (lens @ np.array([x, y, z]) / z)[:2]
            splats.append((z, centre, np.linalg.inv(flat), opacity, colour))
        for row in range(h):
            for column in range(w):
                light, total, opaque = 1.0, np.zeros(colors.shape[1] + 1), 0.0
                for z, centre, inverse, opacity, colour in sorted(splats, key=lambda each: each[0]):
                    away = np.array([column + 0.5, row + 0.5]) - centre
                    alpha = min(0.99, opacity * np.exp(-0.5 * away @ inverse @ away))
                    total, opaque, light = (
                        total + light * alpha * np.append(colour, z),
                        opaque + light * alpha,
                        light * (1 - alpha),
                    )
                total[-1] /= max(opaque, 1e-10)
                rows.append(np.append(total, opaque))
    found = torch.from_numpy(np.array(rows)).float().reshape(len(viewmats), h, w, -1)
    return found[..., :-1], found[..., -1:], {}


def test_the_adapter_speaks_of_the_same_gaussians_cameras_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", SimpleNamespace(rasterization=rasterization))
    torch.manual_seed(0)
    gaussians, size = random_gaussians(1, 12), (4, 6)
    cameras = Cameras.orbit(2, elevation=[-20.0, 50.0], focal=1.1)
    seen = gsplat_backend.splat(gaussians, cameras[None], size, 0.2)
    got = torch.cat([seen.values[0], seen.opacity[0, ..., None], seen.depth[0, ..., None]], dim=-1)
    expected = naive(gaussians, cameras, size, pixel_centres(size).expand(2, -1, -1), 0.2)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_a_processor_never_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gsplat_backend, "INSTALLED", True)
    assert not gsplat_backend.usable(torch.zeros(1))


@pytest.mark.gpu
@pytest.mark.skipif(not (torch.cuda.is_available() and gsplat_backend.INSTALLED), reason="needs a GPU and gsplat")
def test_gsplat_shows_what_loops_in_float64_show_and_learns_what_the_reference_learns() -> None:
    torch.manual_seed(0)
    gaussians, size, blur = random_gaussians(1, 40), (16, 24), 0.2
    cameras = Cameras.orbit(2, elevation=[-20.0, 50.0], focal=1.1)
    pixels = pixel_centres(size).expand(2, -1, -1)
    expected = naive(gaussians, cameras, size, pixels, blur)

    def leaves() -> list[Tensor]:
        parts = (gaussians.means, gaussians.axes, gaussians.opacities, gaussians.values)
        return [z.cuda().requires_grad_() for z in parts]

    ours, theirs, on_device = leaves(), leaves(), cameras[None].to("cuda")
    splats = project(Gaussians(*ours), on_device, size, blur)
    listed = list_tiles(splats, (1, 1), size, 40)
    at = (pixels * torch.tensor([24.0, 16.0])).cuda()[None, :, None]
    reference = splat(splats, ours[3], listed, at)
    seen = gsplat_backend.splat(Gaussians(*theirs), on_device, size, blur)
    got = torch.cat([seen.values[0], seen.opacity[0, ..., None]], dim=-1).detach().cpu()
    np.testing.assert_allclose(got, expected[..., :-1], atol=0.02)  # it leaves out opacities below 1/255
    assert np.abs(got.numpy() - expected[..., :-1]).mean() < 2e-3
    for composite in (seen, reference):
        composite.values.square().sum().backward()
    for own, other in zip(ours, theirs, strict=True):
        alike = torch.cosine_similarity(own.grad.flatten(), other.grad.flatten(), dim=0)
        assert alike > 0.99, alike
