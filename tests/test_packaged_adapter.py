"""The packaged adapters do on objects that they never saw what their cards say."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_core.sampling import fuse_clean, initial_noise
from tunemv3d_core.types import Views

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["chairs-mini", "furniture-mini"])
def loaded(request: pytest.FixtureRequest) -> tuple[RunSpec, MultiviewDiffusion]:
    return load_checkpoint(request.param)


@pytest.fixture(scope="module")
def objects(loaded: tuple[RunSpec, MultiviewDiffusion]) -> list[tuple[Views, Tensor]]:
    """Three held-out objects on the ring, with their latents."""
    spec, model = loaded
    dataset = build_component("dataset", spec.data)

    def each() -> Iterator[tuple[Views, Tensor]]:
        for index in dataset.splits()["held_out"][:3]:
            views = dataset.views(index, list(range(8)))
            yield views, model.backbone.encode_images(views.images)

    return list(each())


@torch.no_grad()
def test_the_modulated_model_predicts_noise_better_than_the_frozen_one(
    loaded: tuple[RunSpec, MultiviewDiffusion], objects: list[tuple[Views, Tensor]]
) -> None:
    _, model = loaded
    errors = []
    for seed, (views, latents) in enumerate(objects):
        noise = initial_noise([seed], 8, 4, (32, 32))
        t = torch.full((1, 8), 750.0)
        x_t, text = model.backbone.add_noise(latents, noise, t), model.backbone.encode_text(views.captions[:1])
        modulated = model(x_t, t, text, views.cameras).modulated
        errors.append([(p - noise).square().mean() for p in (modulated, model.frozen(x_t, t, text))])
    modulated, frozen = torch.tensor(errors).mean(0)
    assert modulated < 0.9 * frozen


@torch.no_grad()
def test_the_field_of_real_views_has_their_silhouettes_also_from_cameras_it_did_not_see(
    loaded: tuple[RunSpec, MultiviewDiffusion], objects: list[tuple[Views, Tensor]]
) -> None:
    _, model = loaded
    shares = []
    for views, latents in objects:
        seen, unseen = [0, 1, 2, 3, 4, 6, 7], [5]
        text = model.backbone.encode_text(views.captions[:1])
        scene = fuse_clean(model, latents[:, seen], text, views.cameras[:, seen])
        opacity = scene.render(views.cameras[:, unseen], (32, 32)).opacity > 0.5
        alpha = torch.nn.functional.adaptive_avg_pool2d(views.alpha[:, unseen], (32, 32)) > 0.5
        shares.append(float((opacity & alpha).sum() / (opacity | alpha).sum()))
    assert sum(shares) / len(shares) > 0.6, shares


@torch.no_grad()
def test_no_consistency_is_still_the_frozen_model_bit_for_bit(loaded: tuple[RunSpec, MultiviewDiffusion]) -> None:
    _, model = loaded
    x_t, t = initial_noise([4], 2, 4, (32, 32)), torch.full((1, 2), 500.0)
    text = model.backbone.encode_text(["a red armchair"])
    prediction = model.predict(x_t, t, text, Cameras.orbit(2)[None], consistency=0.0)
    assert torch.equal(prediction.modulated, model.frozen(x_t, t, text))
