"""A checkpoint whose base model moved, or gets another model of the same kind in its place."""

import json
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_model import SPEC, load

from tunemv3d_core.config.run_spec import ModelSpec, RunSpec
from tunemv3d_core.console import run
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import CheckpointError, TuneMV3DWarning
from tunemv3d_core.io.base_model import published, with_base
from tunemv3d_core.io.checkpoint import load_checkpoint, save_checkpoint, trainable_tensors
from tunemv3d_modulation.export import export
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.sample import sample
from tunemv3d_modulation.spec import DiffusersSpec


def spec_on(base: Path | str, **options) -> RunSpec:
    backbone = DiffusersSpec(type="diffusers", pretrained=str(base), trainable="lora", lora_rank=3, **options)
    return SPEC.model_copy(update={"model": ModelSpec(backbone=backbone)})


@pytest.fixture(scope="module")
def saved(folders, tmp_path_factory) -> dict[str, Path]:
    """A checkpoint, the place where its base was, and where the base is now; another base of its kind, and others."""
    root = tmp_path_factory.mktemp("moved")
    old = Path(shutil.copytree(folders["mini"], root / "old"))
    model = MultiviewDiffusion(load(old, trainable="lora", lora_rank=3))
    generator = torch.Generator().manual_seed(5)
    for tensor in trainable_tensors(model).values():
        tensor.copy_(0.1 * torch.randn(tensor.shape, generator=generator))
    save_checkpoint(root / "checkpoint", model, spec_on(old))
    kin = Path(shutil.copytree(old, root / "kin"))
    file = kin / "unet/diffusion_pytorch_model.safetensors"
    save_file({name: 1.01 * weight for name, weight in load_file(file).items()}, file, {"format": "pt"})
    v = Path(shutil.copytree(old, root / "v"))
    config = json.loads((v / "scheduler/scheduler_config.json").read_text())
    (v / "scheduler/scheduler_config.json").write_text(json.dumps({**config, "prediction_type": "v_prediction"}))
    old.rename(root / "new")
    return {name: root / name for name in ("checkpoint", "old", "new", "kin", "v")}


def predicted(model: MultiviewDiffusion) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    x_t, t = torch.randn(1, 2, 4, 8, 8, generator=generator), torch.full((1, 2), 500.0)
    with torch.no_grad():
        return model.frozen(x_t, t, model.backbone.encode_text(["a red chair"]))


def test_a_base_that_is_gone_is_one_sentence_with_the_ways_to_point_at_it(saved):
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(saved["checkpoint"])
    told = str(error.value)
    assert told.startswith(f"{saved['checkpoint']}: its base model cannot be had: ") and str(saved["old"]) in told
    assert "--base PATH_OR_ID" in told and "from_pretrained(..., base=...)" in told and "TUNEMV3D_BASE" in told
    assert "\n" not in told


@pytest.mark.parametrize("how", ["argument", "options", "json", "environment", "pipeline"])
def test_the_same_base_elsewhere_is_the_same_model_without_a_word(saved, monkeypatch, how):
    new = str(saved["new"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", TuneMV3DWarning)
        if how == "environment":
            monkeypatch.setenv("TUNEMV3D_BASE", new)
            spec, model = load_checkpoint(saved["checkpoint"])
        elif how == "pipeline":
            pipe = TuneMV3DPipeline.from_pretrained(saved["checkpoint"], base=new, local_files_only=True)
            spec, model = pipe.spec, pipe.model
        else:
            given = {"argument": new, "options": {"pretrained": new}, "json": json.dumps({"pretrained": new})}[how]
            spec, model = load_checkpoint(saved["checkpoint"], base=given)
    assert spec.model.backbone.pretrained == new
    reference = MultiviewDiffusion(load(saved["new"], trainable="lora", lora_rank=3))
    stored = load_file(saved["checkpoint"] / "model.safetensors")
    for name, tensor in trainable_tensors(reference).items():
        tensor.copy_(stored[name])
    assert torch.equal(predicted(model), predicted(reference))


@pytest.mark.slow
def test_another_model_of_the_kind_is_told_in_one_line_and_can_be_refused(saved):
    with pytest.warns(TuneMV3DWarning) as told:
        _, model = load_checkpoint(saved["checkpoint"], base=str(saved["kin"]))
    (line,) = [str(w.message) for w in told if w.category is TuneMV3DWarning]
    assert "frozen model is not the one" in line and "unet/diffusion_pytorch_model.safetensors" in line
    assert "vae" not in line and "\n" not in line
    same = load_checkpoint(saved["checkpoint"], base=str(saved["new"]))[1]
    assert not torch.equal(predicted(model), predicted(same))
    with pytest.raises(CheckpointError, match="frozen model is not the one"):
        load_checkpoint(saved["checkpoint"], base=str(saved["kin"]), provenance="error")


@pytest.mark.parametrize(("base", "told"), [("sd21", "text_channels 48 in place of 32"), ("v", "prediction v_pred")])
def test_a_base_of_other_ports_is_refused_in_one_sentence(saved, folders, base, told):
    """The last one has every tensor of the right shape."""
    with pytest.raises(CheckpointError, match=rf"the base '.*{base}' does not go with it: .*{told}") as error:
        load_checkpoint(saved["checkpoint"], base=str(saved.get(base, folders.get(base))))
    assert "\n" not in str(error.value)


def test_what_belonged_to_the_old_base_is_forgotten_and_wrong_options_are_refused():
    spec = spec_on("someone/sd", revision="abc", variant="fp16")
    changed = with_base(spec, "other/sd").model.backbone
    assert (changed.pretrained, changed.revision, changed.variant) == ("other/sd", None, None)
    assert (changed.trainable, changed.lora_rank) == ("lora", 3)
    kept = with_base(spec, {"variant": "bf16"}).model.backbone
    assert (kept.pretrained, kept.revision, kept.variant) == ("someone/sd", "abc", "bf16")
    assert with_base(spec, None) is spec
    with pytest.raises(CheckpointError, match=r"base: .*varaint"):
        with_base(spec, {"varaint": "fp16"})
    with pytest.raises(CheckpointError, match="base: neither a name nor JSON"):
        with_base(spec, "{variant: fp16}")


def test_a_hub_that_cannot_be_reached_is_one_sentence(saved, monkeypatch):
    monkeypatch.setenv("TUNEMV3D_BASE", "nobody/nothing")
    with pytest.raises(
        CheckpointError, match=r"its base model cannot be had: .*hub id 'nobody/nothing'.*--base"
    ) as error:
        TuneMV3DPipeline.from_pretrained(saved["checkpoint"], local_files_only=True)
    assert "\n" not in str(error.value)


def test_paths_are_not_published(tmp_path):
    cached = tmp_path / "hub/models--some--sd/snapshots" / ("a" * 40)
    cached.mkdir(parents=True)
    lora = ({"path": "/home/me/loras/style.safetensors", "scale": 0.5},)
    for base, told in (
        (tmp_path, ("", None)),
        ("/gone/models/sd", ("", None)),
        ("C:\\models\\sd", ("", None)),
        ("some/sd", ("some/sd", None)),
        (cached, ("some/sd", "a" * 40)),
    ):
        backbone = published(spec_on(base, lora=lora)).model.backbone
        assert (backbone.pretrained, backbone.revision) == told
        assert backbone.lora[0].path == "style.safetensors" and backbone.lora[0].scale == 0.5
    assert published(spec_on(tmp_path), "some/sd").model.backbone.pretrained == "some/sd"


def go(command, arguments, capsys) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        run(command, [str(each) for each in arguments])
    out, err = capsys.readouterr()
    return end.value.code or 0, " ".join((out + err).split())


@pytest.mark.slow
def test_an_export_names_no_path_and_what_loads_it_says_where_the_base_is(saved, tmp_path, capsys, monkeypatch):
    out = tmp_path / "published"
    assert go(export, [saved["checkpoint"], "--out", out, "--base", saved["new"]], capsys)[0] == 0
    everything = "".join(file.read_text() for file in out.rglob("*") if file.suffix in (".json", ".md", ".py"))
    assert str(saved["new"].parent) not in everything and "--base PATH_OR_ID" in everything
    with pytest.raises(CheckpointError, match=r"no base model is named\. Point at it by --base PATH_OR_ID"):
        load_checkpoint(out)
    _, model = load_checkpoint(out, base=str(saved["new"]))
    assert predicted(model).isfinite().all()
    named = [saved["checkpoint"], "--out", tmp_path / "n", "--base", saved["new"], "--base-model", "some/sd"]
    assert go(export, named, capsys)[0] == 0
    assert "base_model: some/sd" in (tmp_path / "n/README.md").read_text()
    assert json.loads((tmp_path / "n/spec.json").read_text())["model"]["backbone"]["pretrained"] == "some/sd"


def test_the_command_takes_a_base_and_refuses_one_before_work(saved, tmp_path, capsys):
    arguments = [saved["checkpoint"], "a chair", "--views", "1", "--steps", "1", "--json"]
    code, told = go(sample, [*arguments, "--out", tmp_path / "a", "--base", saved["new"]], capsys)
    assert code == 0, told
    (manifest,) = (tmp_path / "a").glob("*/manifest.json")
    assert json.loads(manifest.read_text())["base"] == saved["new"].name
    for base, wanted in ((saved["v"], "does not go with it"), (tmp_path / "none", "cannot be had")):
        code, told = go(sample, [*arguments, "--out", tmp_path / "b", "--base", base], capsys)
        assert code == 2 and wanted in told
    assert not (tmp_path / "b").exists() or not list((tmp_path / "b").iterdir())
