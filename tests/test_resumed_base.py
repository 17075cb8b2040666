"""A run that goes on where its base model lies elsewhere."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec, canonical_json
from tunemv3d_core.errors import CheckpointError, SpecError
from tunemv3d_core.io.base_model import with_base
from tunemv3d_core.io.checkpoint import CHECKPOINT_FORMAT, write_record
from tunemv3d_core.io.provenance import components, sha256
from tunemv3d_train.runs import RunFolder
from tunemv3d_train.setup import _compare


@pytest.fixture
def run(tmp_path) -> tuple[Path, RunSpec]:
    """A run's folder with one checkpoint, as far as resuming reads it before its weights."""
    spec = load_spec("chairs-mini")
    step = tmp_path / "checkpoints/step-000010"
    step.mkdir(parents=True)
    for folder in (tmp_path, step):
        (folder / "spec.json").write_text(canonical_json(spec))
    (step / "model.safetensors").touch()
    record = {
        "format": CHECKPOINT_FORMAT,
        "components": components(spec.model),
        "frozen": {"unet/x.safetensors": "1"},
        "files": {name: sha256(step / name) for name in ("spec.json", "model.safetensors")},
    }
    write_record(step, record)
    return tmp_path, spec


def test_another_place_of_the_base_is_no_other_run(run):
    folder, spec = run
    moved = with_base(spec, {"pretrained": "/models/sd-mini", "variant": "fp16"})
    assert RunFolder(folder, moved).check(resume=True) == folder / "checkpoints/step-000010"
    backbone = moved.model.backbone.model_copy(update={"trainable": "all"})
    other = moved.model_copy(update={"model": moved.model.model_copy(update={"backbone": backbone})})
    with pytest.raises(SpecError, match=r"its spec differs in model\.backbone\.trainable\."):
        RunFolder(folder, other).check(resume=True)


def test_the_base_in_its_new_place_has_to_be_the_same(run, recwarn):
    folder, spec = run
    step, process = folder / "checkpoints/step-000010", SimpleNamespace(is_main_process=True)

    def go(place: str, digest: str) -> None:
        backbone = with_base(spec, place).model.backbone
        model = SimpleNamespace(
            components={"backbone": backbone},
            backbone=SimpleNamespace(fingerprint=lambda: {"unet/x.safetensors": digest}),
        )
        _compare(step, model, process, resumed=True)

    go("/models/sd-mini", "1")
    assert not recwarn.list
    with pytest.raises(CheckpointError, match="frozen model is not the one"):
        go("/models/sd-mini", "2")
    go(str(spec.model.backbone.pretrained), "2")
    assert "frozen model is not the one" in str(recwarn.pop(UserWarning).message)
