"""Pictures that are no squares, from a folder of meshes to a textured mesh and a page, through the commands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from tunemv3d_core.cli.main import app
from tunemv3d_core.console import run
from tunemv3d_train.cli import train

pytestmark = pytest.mark.slow

WIDTH, HEIGHT = 64, 96


def call(command: Any, *arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        run(command, [str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step on pictures of 2:3, which leaves the field the sphere that it starts as."""
    folder = tmp_path_factory.mktemp("rectangles")
    (folder / "meshes").mkdir()
    for name in ("ball", "block"):
        shape = trimesh.creation.icosphere(3) if name == "ball" else trimesh.creation.box((1, 1.2, 0.8))
        shape.export(folder / "meshes" / f"{name}.glb")
    asked = ("--views", 6, "--resolution", f"{WIDTH}x{HEIGHT}", "--workers", 1, "--held-out", 1)
    assert call(app, "data", "render", folder / "meshes", "--out", folder / "data", *asked) == 0
    options = {
        "data.path": folder / "data",
        "sample.size": [HEIGHT, WIDTH],
        "sample.steps": 2,
        "views.inputs": 4,
        "views.novel": 2,
        "train.steps": 1,
        "optimizer.lr": 1e-8,
        "model.field.hidden": 16,
        "model.field.blocks": 1,
        "model.field.latent_blocks": 1,
        "model.field.samples": 12,
    }
    settings = [word for name, value in options.items() for word in ("--set", f"{name}={value}")]
    assert call(train, "chairs-mini", "--out", folder / "run", *settings) == 0
    return folder


def test_the_doctor_has_nothing_to_say(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(app, "data", "check", trained / "data", "--out", trained / "check", "--json")
    findings = json.loads(capsys.readouterr().out)["found"]
    assert not [finding for finding in findings if finding["check"].startswith(("camera", "picture", "size"))], findings


def test_views_mesh_and_page_keep_the_shape(trained: Path) -> None:
    out = trained / "samples"
    assert call(app, "sample", trained / "run", "a red ball", "--strip", "--out", out) == 0
    folder = out / "a-red-ball"
    assert call(app, "mesh", folder, "--resolution", 32, "--faces", 2000, "--texture", 64) == 0
    with Image.open(folder / "views" / "000.png") as view:
        assert view.size == (WIDTH, HEIGHT)
    frames = json.loads((folder / "transforms.json").read_text())
    assert (frames["w"], frames["h"]) == (WIDTH, HEIGHT) and frames["fl_x"] == pytest.approx(frames["fl_y"])
    mesh = trimesh.load(folder / "object.glb", force="mesh")
    extents = np.asarray(mesh.extents)
    assert extents == pytest.approx(np.full(3, extents.mean()), rel=0.05), "the sphere that it starts as stays round"
    assert call(app, "report", out, "--out", trained / "page.html") == 0
    assert (trained / "page.html").stat().st_size > 10_000


def test_evaluation_measures_rectangles(trained: Path) -> None:
    prompts = trained / "prompts.txt"
    prompts.write_text("a red ball\n")
    asked = ("--prompts", prompts, "--steps", 2, "--views", 4, "--consistency", "1", "--out", trained / "figures")
    assert call(app, "evaluate", trained / "run", *asked) == 0
    report = json.loads((trained / "figures" / "evaluate.json").read_text())
    assert not report["failed"] and report["rows"]


def test_sizes_of_no_whole_cells_are_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (f"data.path={trained / 'data'}", "sample.size=[98, 66]", "views.inputs=4", "views.novel=2")
    odd = [word for option in options for word in ("--set", option)] + ["--out", str(trained / "odd")]
    assert call(train, "chairs-mini", *odd) == 2
    assert "sample.size" in capsys.readouterr().err and not (trained / "odd").exists()
