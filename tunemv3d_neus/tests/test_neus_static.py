"""Nothing in a training step depends on numbers, so that it can be captured as a CUDA graph: fake tensors hold none."""

import pytest
import torch
from neus_fixtures import FEATURES, small_field
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from tunemv3d_core.assemble import build_component
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.rendering.rays import culling
from tunemv3d_neus.plugin import ATTENTION, MEAN_VARIANCE, VISIBILITY


def train_on_fakes(kind: str) -> None:
    plugin = {p.name: p for p in (ATTENTION, MEAN_VARIANCE, VISIBILITY)}[kind]
    with FakeTensorMode():
        merge = build_component("aggregator", plugin.spec(type=kind), FEATURES)
        field = small_field(merge, samples=6, fine_samples=5).train()
        cameras = Cameras(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4))
        scene = field.fuse(torch.randn(2, 3, FEATURES, 8, 8), cameras, torch.zeros(2))
        whole, some = scene.render(cameras, (8, 8)), scene.render(cameras, (8, 8), torch.rand(2, 3, 7, 2))
        assert some.values.shape == (2, 3, 4, 7)
        (whole.values.mean() + some.depth.mean() + sum(scene.losses().values())).backward()


@pytest.mark.parametrize("kind", ["mean-variance", "visibility", "attention"])
def test_a_training_step_on_an_accelerator_is_static(kind: str) -> None:
    with pytest.raises(DataDependentOutputException):
        train_on_fakes(kind)  # a CPU leaves out the rays that miss
    with culling(False):
        train_on_fakes(kind)
