"""Steps of a sampling as CUDA graphs beside eager ones. Needs a GPU."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
STEPS = 8


@pytest.fixture(scope="module")
def pipe() -> TuneMV3DPipeline:
    loaded = TuneMV3DPipeline.from_pretrained("chairs-mini").to("cuda")
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Grows by one with every replay."""
    counted: list[int] = []
    replay = torch.cuda.CUDAGraph.replay

    def count(graph: torch.cuda.CUDAGraph) -> None:
        counted.append(1)
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", count)
    yield counted


def both(pipe: TuneMV3DPipeline, **options: object) -> tuple[Tensor, Tensor]:
    """Latents of an eager and of a captured sampling."""
    given = {"num_inference_steps": STEPS, "output_type": "latent", **options}
    pipe.disable_cuda_graph()
    eager = pipe("a red chair", Cameras.orbit(4, elevation=20), **given).latents
    pipe.enable_cuda_graph()
    return eager, pipe("a red chair", Cameras.orbit(4, elevation=20), **given).latents


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 1.0}, {"consistency": 1.5}, {"consistency": 0.0}])
def test_a_captured_sampling_is_the_eager_one(
    pipe: TuneMV3DPipeline, options: dict[str, float], replays: list[int]
) -> None:
    eager, captured = both(pipe, **options)
    torch.testing.assert_close(captured, eager, rtol=1e-4, atol=1e-4)
    assert len(replays) == STEPS - 1


def test_a_change_of_k_or_guidance_begins_anew(pipe: TuneMV3DPipeline, replays: list[int]) -> None:
    def calmer(given: TuneMV3DPipeline, step: int, t: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        given._guidance_scale = 2.0 if step >= 5 else given._guidance_scale
        return tensors

    eager, captured = both(pipe, consistency=[1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], callback_on_step_end=calmer)
    torch.testing.assert_close(captured, eager, rtol=1e-4, atol=1e-4)
    assert len(replays) == STEPS - 3


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_the_second_gpu_is_as_good(replays: list[int]) -> None:
    second = TuneMV3DPipeline.from_pretrained("chairs-mini").to("cuda:1")
    eager, captured = both(second)
    torch.testing.assert_close(captured, eager, rtol=1e-4, atol=1e-4)
    assert len(replays) == STEPS - 1


def test_changed_latents_and_known_views_are_seen(pipe: TuneMV3DPipeline, replays: list[int]) -> None:
    def noisier(_: TuneMV3DPipeline, step: int, t: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": 1.1 * tensors["latents"] if step == 4 else tensors["latents"]}

    known = {0: torch.full((3, 128, 128), 0.5)}
    eager, captured = both(pipe, callback_on_step_end=noisier, known_views=known, guidance_rescale=0.5)
    torch.testing.assert_close(captured, eager, rtol=1e-4, atol=1e-4)
    assert len(replays) == STEPS - 1


def test_what_callbacks_keep_is_not_overwritten(pipe: TuneMV3DPipeline) -> None:
    kept: list[dict[str, Tensor]] = []

    def keep(_: TuneMV3DPipeline, step: int, t: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        kept.append(dict(tensors))
        return tensors

    both(pipe, callback_on_step_end=keep, callback_on_step_end_tensor_inputs=["x0", "opacity", "depth"])
    eager, captured = kept[:STEPS], kept[STEPS:]
    for one, other in zip(eager, captured, strict=True):
        for name in one:
            torch.testing.assert_close(other[name], one[name], rtol=1e-3, atol=1e-3)


def test_a_component_that_waits_for_the_device_goes_on_eagerly(
    pipe: TuneMV3DPipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fuse = type(pipe.model)._fuse

    def waiting(model: object, *given: object) -> object:
        torch.cuda.synchronize()
        return fuse(model, *given)

    monkeypatch.setattr(type(pipe.model), "_fuse", waiting)
    eager, captured = both(pipe)
    torch.testing.assert_close(captured, eager, rtol=1e-4, atol=1e-4)
    assert capsys.readouterr().err.count("sampling without a CUDA graph, slower") == 1
