"""The options of precision and offload, in every command that samples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tunemv3d_core.console import run
from tunemv3d_core.io.checkpoint import load_checkpoint
from tunemv3d_core.io.samples import read_sample
from tunemv3d_eval.evaluate import evaluate
from tunemv3d_modulation.sample import sample
from tunemv3d_shape.commands.mesh import mesh
from tunemv3d_shape.commands.refine import refine
from tunemv3d_show.view import view

pytest.importorskip("tunemv3d_mini", reason="the packaged checkpoint")

COMMANDS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "sample": (sample, ["chairs-mini", "a chair"]),
    "mesh": (mesh, ["chairs-mini", "a chair"]),
    "refine": (refine, ["chairs-mini", "a chair"]),
    "evaluate": (evaluate, ["chairs-mini"]),
    "view": (view, ["chairs-mini"]),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--offload", "model"], "--offload model: keeps parts of the model off an accelerator, and 'cpu' is none"),
        (["--dtype", "half"], "--dtype half: one of auto, float32, float16, bfloat16 is expected"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    command: str,
    given: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if command == "view":
        pytest.importorskip("viser")
    monkeypatch.setattr("tunemv3d_core.io.checkpoint.check_checkpoint", lambda folder: pytest.fail("loaded"))
    function, arguments = COMMANDS[command]
    with pytest.raises(SystemExit) as end:
        run(function, [*arguments, "--out", str(tmp_path / "out"), "--device", "cpu", *given])
    assert end.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_an_object_is_sampled_in_half_precision_and_its_manifest_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--steps", "1", "--views", "2", "--device", "cpu", "--dtype", "bfloat16", "--json"]
    with pytest.raises(SystemExit) as end:
        run(sample, ["chairs-mini", "a red chair", "--out", str(tmp_path), *given])
    (manifest,) = json.loads(capsys.readouterr().out)
    assert not end.value.code and manifest["dtype"] == "bfloat16"
    _, model = load_checkpoint("chairs-mini", dtype=torch.bfloat16)
    scene = read_sample(Path(manifest["folder"])).scene(model)
    assert scene is not None
