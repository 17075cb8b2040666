"""Packaged and saved folders: what comes back is what was written."""

import json

import pytest
import torch
from diffusers import EulerDiscreteScheduler
from safetensors.torch import load_file

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.console import run
from tunemv3d_core.errors import CheckpointError
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_modulation.export import export
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

pytest.importorskip("tunemv3d_mini", reason="the packaged checkpoint")


@pytest.fixture(scope="module")
def pipe():
    return TuneMV3DPipeline.from_pretrained("chairs-mini")


def test_a_saved_pipeline_comes_back_with_its_scheduler_and_provenance(pipe, tmp_path):
    own = pipe.scheduler
    pipe.scheduler = EulerDiscreteScheduler.from_config(own.config, use_karras_sigmas=True)
    pipe.save_pretrained(tmp_path / "mine")
    pipe.scheduler, swapped = own, pipe.scheduler
    again = TuneMV3DPipeline.from_pretrained(tmp_path / "mine", provenance="error")
    assert type(again.scheduler) is EulerDiscreteScheduler and again.scheduler.config.use_karras_sigmas
    assert again.spec == pipe.spec and again.data == pipe.data and again.data["licences"]
    pipe.scheduler = swapped
    given = {"cameras": Cameras.orbit(2), "num_inference_steps": 1, "guidance_scale": 1.0}
    torch.testing.assert_close(again("a stool", **given).latents, pipe("a stool", **given).latents)
    pipe.scheduler = own
    record = tmp_path / "mine" / "provenance.json"
    record.write_text(record.read_text().replace('"version": "0.', '"version": "99.'))
    with pytest.raises(CheckpointError, match=r"saved with tunemv3d-neus==99\.\S+, tunemv3d-neus==0\."):
        TuneMV3DPipeline.from_pretrained(tmp_path / "mine", provenance="error")


def test_an_export_holds_half_the_bytes_and_a_card(tmp_path, capsys):
    out = tmp_path / "published"
    with pytest.raises(SystemExit) as end:
        run(export, ["chairs-mini", "--out", str(out), "--licence", "cc-by-4.0", "--json"])
    assert not end.value.code
    written = json.loads(capsys.readouterr().out)["files"]
    assert set(written) == {
        "README.md", "model.safetensors", "provenance.json", "scheduler/scheduler_config.json", "spec.json",
    }  # fmt: skip
    stored = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    _, model = load_checkpoint("chairs-mini")
    assert set(stored) <= set(model.state_dict())
    card = (out / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "base_model: sd-mini" in card and "| field | neus | tunemv3d-neus==" in card
    assert "CC-BY-3.0" in card and "Licences:" in card


def test_exports_that_cannot_be_are_refused(tmp_path, capsys):
    for arguments, message in (
        (["chairs-mini", "--out", str(tmp_path)], "is there already"),
        (["chairs-mini", "--out", str(tmp_path / "x"), "--dtype", "int8"], "one of fp32, fp16, bf16"),
        (["no-such", "--out", str(tmp_path / "x")], "no checkpoint 'no-such'"),
    ):
        with pytest.raises(SystemExit) as end:
            run(export, arguments)
        assert end.value.code == 2 and message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_a_hub_id_that_is_nowhere_says_both(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"no checkpoint 'nobody/nothing'.*as a hub id"):
        TuneMV3DPipeline.from_pretrained("nobody/nothing")
