"""A backbone of a third party: what works with the slot's methods alone, and what is refused by name."""

import json

import plain_backbone as plain
import pytest
import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.console import run
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CheckpointError, ComponentError
from tunemv3d_core.plugins.registry import registry
from tunemv3d_modulation.export import export
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.sample import sample


@pytest.fixture
def offered(tmp_path, monkeypatch):
    """The components of ``plain_backbone``, as an installed distribution's."""
    plain.offer(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry().clear()
    yield
    registry().clear()


def pipeline(backbone=None, kind="plain"):
    model = MultiviewDiffusion(plain.PlainBackbone() if backbone is None else backbone)
    pipe = TuneMV3DPipeline.from_model(model, plain.plain_spec(kind))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_it_is_sampled_and_says_nothing_of_prompts_that_it_may_cut():
    pipe = pipeline()
    output = pipe(["a red chair", "a stool"], output_type="pt", known_views={1: torch.rand(3, 16, 16)})
    assert output.images.shape == (2, 2, 3, 16, 16) and output.images.isfinite().all()
    assert not torch.equal(output.latents[0, 0], output.latents[1, 0])
    assert pipe.cut_prompts(["chair " * 100]) == []


def test_offloading_it_is_refused_with_what_it_lacks_and_changes_nothing():
    pipe = pipeline()
    before = pipe("a red chair").latents
    with pytest.raises(ComponentError, match=r"backbone 'PlainBackbone' .*offloadable.*pipe\.to") as told:
        pipe.enable_model_cpu_offload(device="cpu")
    assert "\n" not in str(told.value)
    assert torch.equal(pipe("a red chair").latents, before)


def test_one_that_names_its_parts_is_offloaded_part_by_part_and_samples_the_same():
    before = pipeline()("a red chair", known_views={0: torch.zeros(3, 16, 16)})
    backbone = plain.OffloadableBackbone()
    pipe = pipeline(backbone)
    pipe.enable_model_cpu_offload(device="cpu")
    after = pipe("a red chair", known_views={0: torch.zeros(3, 16, 16)})
    assert torch.equal(after.latents, before.latents)
    assert all(hasattr(part, "_hf_hook") for part in (backbone.words, backbone.picture, pipe.model.offload.denoiser))
    assert {id(part) for part in pipe.model.offload.denoiser.parts} == {
        id(getattr(backbone, n)) for n in ("first", "down", "up", "last")
    }
    assert pipe.cut_prompts(["a chair", "a red chair"]) == ["only 8 letters are read: 'air' is cut"]


@pytest.mark.parametrize("kind", ["plain", "own-scheduler"])
def test_it_is_saved_exported_and_sampled_by_the_commands(offered, tmp_path, capsys, kind):
    pipe = pipeline(plain.build(plain.plain_spec(kind).model.backbone), kind)
    pipe.save_pretrained(tmp_path / "saved")
    with pytest.raises(SystemExit) as end:
        run(export, [str(tmp_path / "saved"), "--out", str(tmp_path / "published"), "--json"])
    written = json.loads(capsys.readouterr().out)["files"]
    assert not end.value.code and ("scheduler/scheduler_config.json" in written) == (kind == "plain")
    assert "its 2D model" in (tmp_path / "published/README.md").read_text()
    again = TuneMV3DPipeline.from_pretrained(tmp_path / "published", provenance="error")
    given = {"prompt": "a red chair", "cameras": Cameras.orbit(2)}
    assert torch.equal(again(**given).latents, pipe(**given).latents)
    with pytest.raises(SystemExit) as end:
        run(sample, [str(tmp_path / "published"), "a red chair", "--out", str(tmp_path / "made"), "--json"])
    assert not end.value.code and json.loads(capsys.readouterr().out)[0]["num_inference_steps"] == 3


def test_a_swapped_scheduler_that_cannot_be_written_is_refused(offered, tmp_path):
    pipe = pipeline()
    pipe.scheduler = plain.OwnScheduler()
    with pytest.raises(CheckpointError, match=r"scheduler 'OwnScheduler' has no save_pretrained"):
        pipe.save_pretrained(tmp_path / "saved")
