"""What earlier versions wrote loads for ever: specs, datasets, checkpoints with their state, samples."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.io.checkpoint import check_checkpoint, load_checkpoint, load_state, run_checkpoints
from tunemv3d_core.io.samples import find_samples, read_sample
from tunemv3d_core.plugins.registry import registry
from tunemv3d_show.report import report
from tunemv3d_train.multiview import MultiviewImages
from tunemv3d_train.trainer import train

ROOT = Path(__file__).parents[1]
KEPT = sorted((ROOT / "tests/compat").glob("format-*"))


@pytest.fixture(params=KEPT, ids=lambda folder: folder.name)
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of a kept folder, as the working directory; the tiny components are offered."""
    monkeypatch.syspath_prepend(str(ROOT / "tunemv3d_train/tests"))
    import train_stand_ins as tiny

    tiny.offer(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    registry().clear()
    folder = tmp_path / "kept"
    shutil.copytree(request.param, folder)
    monkeypatch.chdir(folder)
    yield folder
    registry().clear()


def test_the_spec_and_the_dataset_are_read(kept: Path) -> None:
    spec = load_spec("spec.json")
    assert (spec.name, spec.train.steps, spec.views.inputs) == ("tiny", 2, 4)
    data = MultiviewImages(kept / "discs")
    assert data.splits() == {"train": [0, 1], "held_out": [2]}
    views = data.views(2, [0, 6])
    # The third disc has a radius of 5 pixels of 16, and (80, 20 * view, 200) as its colour.
    assert views.alpha.sum((-1, -2)).tolist() == [[80.0, 80.0]]
    middle = ((views.images[0, :, :, 8, 8] + 1) * 127.5).round().int().tolist()
    assert middle == [[80, 0, 200], [80, 120, 200]] and views.captions == ["disc number 2"]


@pytest.mark.filterwarnings("ignore:.*whose code has changed since")
def test_the_checkpoint_is_loaded_and_the_run_goes_on(kept: Path) -> None:
    (checkpoint,) = run_checkpoints(kept / "run")
    check_checkpoint(checkpoint, state=True)
    spec, model = load_checkpoint("run")
    stored = load_file(checkpoint / "model.safetensors")
    assert torch.equal(model.field.head.weight, stored["field.head.weight"]) and spec.train.steps == 2
    assert load_state(checkpoint)["step"] == 2
    outcome = train(load_spec("spec.json", ["train.steps=4"]), kept / "run", resume=True)
    state = load_state(outcome.checkpoint)
    assert (outcome.step, state["step"]) == (4, 4) and state["step/field.head.weight"] == 4
    steps = [json.loads(line)["step"] for line in (kept / "run/metrics.jsonl").read_text().splitlines()]
    assert steps == [0, 1, 2, 2, 3, 4, 4]


def test_the_sample_is_read_and_reported(kept: Path) -> None:
    (folder,) = find_samples(kept / "samples")
    sample = read_sample(folder)
    assert sample.latents.shape == (4, 3, 8, 8) and sample.cameras.shape == (4,)
    done = CliRunner().invoke(_app(), ["samples", "--out", "report.html"])
    assert done.exit_code == 0, done.output
    assert "a disc" in (kept / "report.html").read_text()


def _app() -> object:
    from typer import Typer

    app = Typer()
    app.command()(report)
    return app


def test_the_kept_folders_are_small() -> None:
    assert KEPT and sum(path.stat().st_size for path in (ROOT / "tests/compat").rglob("*") if path.is_file()) < 150_000
