"""Every script of examples/ runs with small settings, writes what its docstring names, and keeps its promises."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from tunemv3d_core.io.checkpoint import load_checkpoint, trainable_tensors
from tunemv3d_core.plugins.assets import find_asset

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
SIDE = 128
"""Pixels along a view of ``chairs-mini``."""


def run(name: str, monkeypatch: pytest.MonkeyPatch, out: Path, *words: str) -> list[Path]:
    """Run a script as ``python examples/NAME.py`` does, in this process, which has imported torch already."""
    script = EXAMPLES / f"{name}.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--out", str(out), *words])
    runpy.run_path(str(script), run_name="__main__")
    return written(script, out)


def written(script: Path, out: Path) -> list[Path]:
    """The files that the docstring promises, all of which are there and no picture of which is blank."""
    files = [
        out / name
        for name in re.findall(r"\bOUT/([a-z_0-9]+\.[a-z]+)", ast.get_docstring(ast.parse(script.read_text())))
    ]
    assert files
    for file in files:
        assert file.stat().st_size > 1000, file
        assert file.suffix != ".webp" or np.asarray(Image.open(file).convert("L")).std() > 5, f"{file} is blank"
    return files


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB")).astype(float) / 255


def test_there_are_few_and_they_are_short() -> None:
    assert 1 <= len(SCRIPTS) <= 6
    assert {script.name: n for script in SCRIPTS if (n := len(script.read_text().splitlines())) > 60} == {}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_they_use_what_is_public_and_named_in_the_documentation(script: Path) -> None:
    tree = ast.parse(script.read_text())
    private = [
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr[0] == "_" != node.attr[1]
    ]
    imported = [alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert not private and not [name for name in imported if name.startswith("_")]
    assert f"examples/{script.name}" in (EXAMPLES.parent / "docs/to-try.md").read_text("utf-8")


@pytest.mark.slow
def test_training_loop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (picture,) = run("training_loop", monkeypatch, tmp_path, "--steps", "2", "--views", "2")
    assert Image.open(picture).size == (2 * SIDE, 2 * SIDE)
    spec, model = load_checkpoint(tmp_path / "checkpoint")
    residuals = [tensor for name, tensor in trainable_tensors(model).items() if name.startswith("injector.")]
    assert spec.name == "chairs-mini" and any(bool(tensor.any()) for tensor in residuals), "nothing was learned"


@pytest.mark.slow
def test_camera_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = "--steps", "1", "--views", "2", "--frames", "3"
    (film,) = run("camera_path", monkeypatch, tmp_path, *words)
    moving = Image.open(film)
    assert (moving.size, moving.n_frames) == ((2 * SIDE, SIDE), 3)


@pytest.mark.slow
def test_k_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sheet,) = run("k_sweep", monkeypatch, tmp_path, "--steps", "2", "--views", "2", "--strengths", "0", "1.5")
    rows = pixels(Image.open(sheet))
    assert rows.shape == (2 * SIDE, 2 * SIDE, 3)
    assert np.abs(rows[:SIDE] - rows[SIDE:]).mean() > 0.01, "K changes nothing"
    assert re.findall(r"^K = (\S+): IoU [01]\.\d{3}$", capsys.readouterr().out, re.MULTILINE) == ["0", "1.5"]


@pytest.mark.slow
def test_image_to_3d(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = "--steps", "1", "--views", "2", "--resolution", "24"
    views, mesh = run("image_to_3d", monkeypatch, tmp_path, *words)
    given = Image.open(find_asset("chairs") / "objects/scopia-office-chair/007.webp")
    on_white = Image.alpha_composite(Image.new("RGBA", given.size, "white"), given)
    first = Image.open(views).crop((0, 0, SIDE, SIDE))
    assert np.abs(pixels(first) - pixels(on_white)).mean() < 0.02, "the first view is not the given picture"
    assert len(trimesh.load(mesh, force="mesh").faces) > 100


@pytest.mark.slow
def test_many_prompts(tmp_path: Path) -> None:
    """As a program of its own: its processes start from its file."""
    script = EXAMPLES / "many_prompts.py"
    before = Image.effect_noise((2 * SIDE, SIDE), 50).convert("RGB")
    before.save(tmp_path / "0000.webp", lossless=True)
    words = ["--prompts", "a red chair", "a blue stool", "--steps", "1", "--views", "2", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"webp: (.*)", done.stdout) == ["a blue stool"], "what is there is not made again"
    assert (pixels(Image.open(tmp_path / "0000.webp")) == pixels(before)).all()
    (sheet,) = written(script, tmp_path)
    assert Image.open(sheet).size == Image.open(tmp_path / "0001.webp").size == (2 * SIDE, SIDE)


@pytest.mark.slow
def test_in_diffusers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    (sheet,) = run("in_diffusers", monkeypatch, tmp_path, "--steps", "2", "--views", "2")
    assert Image.open(sheet).size == (2 * SIDE, SIDE)
    assert (tmp_path / "checkpoint/model_index.json").is_file()
    assert "2 views by TuneMV3DPipeline" in capsys.readouterr().out


def test_the_documentation_shows_small_pictures() -> None:
    page, folder = (EXAMPLES.parent / "docs/to-try.md").read_text("utf-8"), EXAMPLES.parent / "docs/_static/to-try"
    shown = re.findall(r"\{figure\} _static/to-try/(\w+)\.webp", page)
    assert shown and set(shown) <= {script.stem for script in SCRIPTS}
    assert sorted(shown) == sorted(file.stem for file in folder.iterdir())
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 150 * 1024
