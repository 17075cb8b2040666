"""Packaged and saved folders: what comes back is what was written."""

import dataclasses
import json
import warnings
from types import SimpleNamespace

import pytest
import torch
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
from diffusers.utils import hub_utils
from safetensors.torch import load_file

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.console import run
from tunemv3d_core.errors import CheckpointError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.io.checkpoint import find_checkpoint, load_checkpoint, write_record
from tunemv3d_modulation import publishing
from tunemv3d_modulation.export import export
from tunemv3d_modulation.model_card import model_card
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

pytest.importorskip("tunemv3d_mini", reason="the packaged checkpoint")


@pytest.fixture(scope="module")
def pipe():
    return TuneMV3DPipeline.from_pretrained("chairs-mini")


@pytest.mark.slow
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
    record = (tmp_path / "mine" / "provenance.json").read_text()
    write_record(tmp_path / "mine", json.loads(record.replace('"version": "0.', '"version": "99.')))
    with pytest.raises(CheckpointError, match=r"saved with tunemv3d-neus==99\.\S+, tunemv3d-neus==0\."):
        TuneMV3DPipeline.from_pretrained(tmp_path / "mine", provenance="error")


@pytest.mark.slow
def test_an_export_holds_half_the_bytes_and_a_card(tmp_path, capsys):
    out = tmp_path / "published"
    with pytest.raises(SystemExit) as end:
        run(export, ["chairs-mini", "--out", str(out), "--licence", "cc-by-4.0", "--json"])
    assert not end.value.code
    written = json.loads(capsys.readouterr().out)["files"]
    assert set(written) == {
        "README.md", "model.safetensors", "provenance.json", "scheduler/scheduler_config.json", "spec.json",
        "model_index.json", "pipeline.py",
    }  # fmt: skip
    stored = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()} == {torch.float16}
    _, model = load_checkpoint("chairs-mini")
    assert set(stored) <= set(model.state_dict())
    card = (out / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "base_model: sd-mini" in card and "| field | neus | tunemv3d-neus==" in card
    assert "CC-BY-3.0" in card and "Licences:" in card
    assert 'tunemv3d sample published "a red office chair" --mesh\n' in card


def test_an_export_tells_no_place_of_its_training_data(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(pipe, "data", {"dataset": {"type": "multiview", "path": "/home/ada/mine"}, "objects": 3})
    pipe.publish(tmp_path / "mine", "mine")
    record = json.loads((tmp_path / "mine/provenance.json").read_text())
    assert record["data"] == {"dataset": {"type": "multiview", "path": "mine"}, "objects": 3}
    assert not [f for f in (tmp_path / "mine").rglob("*") if f.is_file() and b"/home/ada" in f.read_bytes()]


class Shapeless(torch.nn.Module):
    """A field whose scenes can be rendered alone."""

    def __init__(self, field, novel_views=True):
        super().__init__()
        self.field, self.ports = field, dataclasses.replace(field.ports, novel_views=novel_views)

    def fuse(self, *views):
        scene = self.field.fuse(*views)
        return SimpleNamespace(render=scene.render, losses=scene.losses)


@pytest.mark.parametrize("field", [Shapeless, lambda field: Shapeless(field, novel_views=False), lambda field: None])
def test_a_card_suggests_no_mesh_where_there_is_no_surface(field, pipe, tmp_path, monkeypatch):
    monkeypatch.setitem(pipe.model._modules, "field", field(pipe.model.field))
    card = model_card("mine", pipe, pipe.spec, find_checkpoint("chairs-mini"))
    assert 'tunemv3d sample mine "a red office chair"\n' in card and "--mesh" not in card


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


@pytest.mark.slow
def test_an_export_is_loaded_by_diffusers_itself(pipe, tmp_path):
    pipe.publish(tmp_path / "published", "mine")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        DiffusionPipeline.from_pretrained(tmp_path / "published")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers warns of the code that is trusted
        again = DiffusionPipeline.from_pretrained(
            str(tmp_path / "published"), trust_remote_code=True, torch_dtype=torch.bfloat16
        )
    assert type(again) is TuneMV3DPipeline and again.spec == pipe.spec and again.dtype == torch.bfloat16
    assert type(again.scheduler) is type(pipe.scheduler)
    given = {"cameras": Cameras.orbit(2), "num_inference_steps": 1, "guidance_scale": 1.0}
    again = DiffusionPipeline.from_pretrained(str(tmp_path / "published"), trust_remote_code=True)
    torch.testing.assert_close(again("a stool", **given).latents, pipe("a stool", **given).latents)


def test_pushing_to_the_hub_sends_what_export_writes(pipe, tmp_path, monkeypatch):
    sent = {}

    def upload(repo_id, folder_path, token, commit_message, create_pr, path_in_repo):
        files = {str(f.relative_to(folder_path)) for f in folder_path.rglob("*") if f.is_file()}
        card = (folder_path / "README.md").read_text()
        sent.update(repo_id=repo_id, token=token, create_pr=create_pr, files=files, card=card)
        return "https://the.hub/someone/chairs"

    monkeypatch.setattr(publishing, "create_repo", lambda name, **_: SimpleNamespace(repo_id=f"someone/{name}"))
    monkeypatch.setattr(hub_utils, "upload_folder", upload)
    assert pipe.push_to_hub("chairs", dtype=torch.float16, token="t") == "https://the.hub/someone/chairs"
    assert (sent["repo_id"], sent["token"], sent["create_pr"]) == ("someone/chairs", "t", False)
    assert {"README.md", "model_index.json", "pipeline.py", "spec.json", "model.safetensors"} <= sent["files"]
    assert 'from_pretrained("someone/chairs")' in sent["card"]
    pipe.save_pretrained(tmp_path / "mine", push_to_hub=True, create_pr=True)
    assert (sent["repo_id"], sent["create_pr"]) == ("someone/mine", True)
    assert (tmp_path / "mine/provenance.json").is_file()


def test_words_of_saving_that_mean_nothing_here_are_told(pipe, tmp_path):
    with pytest.warns(TuneMV3DWarning, match="weights are written as safetensors all the same"):
        pipe.save_pretrained(tmp_path / "mine", safe_serialization=False)
    with pytest.raises(TuneMV3DError, match="variant='fp16': a checkpoint holds one file of weights"):
        pipe.save_pretrained(tmp_path / "mine", variant="fp16")


def test_a_dtype_may_be_given_in_diffusers_words(tmp_path):
    half, brain = torch.float16, torch.bfloat16
    assert TuneMV3DPipeline.from_pretrained("chairs-mini", torch_dtype=half, device_map="cpu").dtype == half
    by_name = TuneMV3DPipeline.from_pretrained("chairs-mini", torch_dtype={"model": brain, "default": half})
    assert by_name.dtype == brain and {p.dtype for p in by_name.model.field.parameters()} == {torch.float32}
    with pytest.raises(TuneMV3DError, match="no component 'unet' with a dtype of its own"):
        TuneMV3DPipeline.from_pretrained("chairs-mini", torch_dtype={"unet": half})


OBJECT = {"cameras": Cameras.orbit(2), "num_inference_steps": 1, "guidance_scale": 1.0, "output_type": "pt"}


@pytest.fixture(scope="module")
def in_full(pipe):
    return pipe("a red chair", **OBJECT)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [pytest.param(torch.float16, marks=pytest.mark.slow), torch.bfloat16])
def test_half_precision_samples_nearly_the_same_object(in_full, dtype):
    found = TuneMV3DPipeline.from_pretrained("chairs-mini", dtype)("a red chair", **OBJECT)
    assert found.latents.dtype == dtype
    assert (found.images - in_full.images).abs().mean() < 0.02
    assert (found.opacity - in_full.opacity).abs().mean() < 0.02
