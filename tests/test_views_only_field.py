"""A field without 3D (``novel_views: false``), end to end: what it cannot do is said before any work is done."""

import json
from pathlib import Path

import pytest
import torch

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.console import run
from tunemv3d_core.errors import CameraError, SampleError, SpecError
from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_core.io.samples import read_sample
from tunemv3d_core.placement import Placement
from tunemv3d_eval.lines import Lines
from tunemv3d_eval.protocols.protocol import load_protocol
from tunemv3d_eval.samples.jobs import Settings
from tunemv3d_eval.scoring.chosen import Needs, choose_metrics
from tunemv3d_eval.scoring.measure import finished_objects
from tunemv3d_eval.scoring.measurement import Measurement, Place
from tunemv3d_modulation.pipeline import TuneMV3DPipeline
from tunemv3d_modulation.sample import sample
from tunemv3d_shape.checkpoints import Checkpoints
from tunemv3d_show.export import export
from tunemv3d_show.session import Session
from tunemv3d_train.trainer import train

SPEC = load_spec("attention-mini", ["model.field.hidden=32", "model.field.blocks=1", "sample.steps=1"])


@pytest.fixture(scope="module")
def pipe() -> TuneMV3DPipeline:
    torch.manual_seed(0)
    pipe = TuneMV3DPipeline.from_model(assemble(SPEC.model), SPEC)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def command(pipe: TuneMV3DPipeline, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(TuneMV3DPipeline, "from_pretrained", lambda *_, **__: pipe)
    with pytest.raises(SystemExit) as end:
        run(sample, ["toy", "a red chair", "--views", "2", *map(str, words)])
    return end.value.code or 0


def test_novel_views_are_refused_before_training(tmp_path: Path) -> None:
    told = "views.novel: the field 'attention' renders only the views that it saw; set views.novel to 0"
    with pytest.raises(SpecError, match=told):
        train(load_spec("attention-mini", ["views.novel=1"]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_views_are_sampled_without_depth_and_normals(
    pipe: TuneMV3DPipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(pipe, monkeypatch, "--out", tmp_path, "--json") == 0
    (manifest,) = json.loads(capsys.readouterr().out)
    assert set(manifest["files"]) == {"grid", "cameras", "views"}
    folder = Path(manifest["folder"])
    assert {f.name for f in folder.iterdir()} >= {"views", "grid.png", "scene.safetensors"}
    checkpoints = Checkpoints(Placement(torch.device("cpu")))
    monkeypatch.setattr(checkpoints, "get", lambda name: LoadedCheckpoint(name, pipe.spec, pipe.model, {}))
    with pytest.raises(SampleError, match="the field of 'toy' has no surface, so there is nothing to mesh"):
        checkpoints.shape(read_sample(folder))


@pytest.mark.parametrize("option", ["--strip", "--video", "--mesh"])
def test_pictures_of_a_shape_are_refused_before_sampling(
    option: str,
    pipe: TuneMV3DPipeline,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(pipe, monkeypatch, "--out", tmp_path, option) == 2
    assert f"the field 'attention' has no 3D, only views: there is no shape to show with {option}" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_evaluation_leaves_out_what_needs_novel_views_and_the_viewer_says_so(
    pipe: TuneMV3DPipeline, tmp_path: Path
) -> None:
    session = Session.of(pipe.model, SPEC, "toy")
    session.cameras = Cameras.orbit(2)
    session.start()
    with pytest.raises(CameraError, match="renders only its 2 input cameras"):
        session.render(Cameras.orbit(1, azimuth=45.0))
    assert session.surface(session.history[0], 8) is None
    files = json.loads((export(session, tmp_path) / "manifest.json").read_text())["files"]
    assert "normals" not in files and len(files["views"]) == 2
    text = pipe.model.backbone.encode_text(["a red chair"])
    latents = session.history[-1].latents
    (found,) = finished_objects(pipe.model, latents, text, Cameras.orbit(2)[None], ["a red chair"])
    needs = Needs(pipe.model, Settings((1.0,), SPEC.sample, 2, 20.0), "")
    chosen = choose_metrics(load_protocol("consistency"))
    measurement = Measurement(chosen, pipe.model, needs, Lines(tmp_path / "scores.jsonl", "key"), None)
    measurement.measure(found, Place("toy", "the toy"))
    figures = measurement.answer(Place("toy", "the toy")).figures
    assert figures["leave_one_out"] is None and "renders cameras" in measurement.skipped["leave-one-out"]
    assert figures["opacity_iou"] is not None and found.renders is not None
