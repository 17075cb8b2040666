"""The command ``refine`` on folders of toys: what it makes, what it keeps, and what is left when it is interrupted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from shape_command_toys import PICTURES, SMALL, TOY, is_whole, run
from shape_toys import numpy_of, seen, write_sample

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.samples import read_pictures
from tunemv3d_shape.commands.mesh import mesh
from tunemv3d_shape.commands.refine import refine
from tunemv3d_shape.export import as_trimesh
from tunemv3d_shape.generate import agreed_surface
from tunemv3d_shape.refinement import fit as fitting
from tunemv3d_shape.refinement.shape import read_refined

pytestmark = pytest.mark.usefixtures("toy_model", "toy_checkpoint")


@pytest.mark.slow
def test_refine_makes_a_sampled_object_that_meshes_as_it_was_refined(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "chair", PICTURES)
    result = run(refine, folder, "--out", tmp_path / "out", "--cells", 16, "--steps", 3, "--anyway", "--json")
    assert result.exit_code == 0, result.output
    (made,) = json.loads(result.stdout)["made"]
    place = tmp_path / "out" / "chair"
    assert made["steps"] == 3 and made["files"] == ["object.glb"] and is_whole(place)
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["prompt"] == "a toy" and manifest["refined"]["cells"] == 16
    assert manifest["files"]["renders"] == ["renders/000.png", "renders/001.png", "renders/002.png"]
    assert all((place / file).is_file() for file in (*manifest["files"]["renders"], "progress.png", "views/002.png"))
    assert manifest["files"]["mesh"] == "object.glb"
    again = run(mesh, place, *SMALL, "--out", tmp_path / "again", "--format", "ply")
    assert again.exit_code == 0, again.output
    kept = as_trimesh(agreed_surface(read_refined(place), read_pictures(place), 32).surface)
    assert trimesh.load(tmp_path / "again/chair/object.ply").volume == pytest.approx(kept.volume, rel=0.02)
    taken = run(refine, folder, "--out", tmp_path / "out", "--cells", 16, "--steps", 3)
    assert taken.exit_code == 1 and "holds a refined object already" in taken.output


@pytest.mark.slow
def test_a_refinement_that_does_not_help_leaves_the_object_as_it_was_and_shows_both(tmp_path: Path) -> None:
    """The generated shape is the right one, and three steps on sixteen cells make it worse."""
    folder = write_sample(tmp_path / "chair", PICTURES)
    options = ("--out", tmp_path / "out", "--cells", 16, "--steps", 3, "--size", "40cm")
    result = run(refine, folder, *options, "--video", "--json")
    assert result.exit_code == 0, result.output
    ((made,), _) = json.loads(result.stdout).values()
    place = tmp_path / "out" / "chair"
    manifest = json.loads((place / "manifest.json").read_text())
    assert made["kept"] is False and "PSNR of held-out views" in made["objections"][0]
    assert made["before"]["psnr"] > made["after"]["psnr"] and made["before"].keys() == made["after"].keys()
    assert manifest["refined"]["before"]["non_manifold_edges"] == 0 and not (place / "refined.safetensors").exists()
    assert made["height"] == pytest.approx(0.4) and is_whole(place)
    shown = trimesh.load(place / "object.glb", force="mesh")
    assert np.ptp(shown.vertices[:, 1]) == pytest.approx(0.4, rel=1e-3)
    with Image.open(place / "comparison.png") as picture:
        assert picture.size == (256, 5 * 256)  # one held-out view; given, twice coloured, twice bare
    with Image.open(place / manifest["files"]["turntable"]) as moving:
        assert moving.n_frames == 36 and moving.size == (512, 512)
    told = run(refine, folder, "--out", tmp_path / "again", "--cells", 16, "--steps", 3)
    assert "as it was, which is better" in told.output and "non-manifold edges 0 to" in told.output
    assert "the refinement did not help: PSNR of held-out views" in told.stderr


def test_a_single_view_cannot_be_refined(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "chair", seen(numpy_of(TOY), Cameras.orbit(1), 32))
    result = run(refine, folder, "--out", tmp_path / "out")
    assert result.exit_code == 1 and "a refinement needs two views at least" in result.output


def test_an_interrupted_refinement_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(run: Any, step: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting._Run, "step", interrupt)
    write_sample(tmp_path / "in" / "one", PICTURES)
    write_sample(tmp_path / "in" / "two", PICTURES)
    result = run(refine, tmp_path / "in", "--out", tmp_path / "out", "--cells", 16)
    assert result.exit_code == 130, result.output
    assert (tmp_path / "out" / "one" / "object.glb").is_file()
    assert not (tmp_path / "out" / "two").exists()
    assert json.loads((tmp_path / "out" / "one" / "manifest.json").read_text())["refined"]["interrupted"] is True
    assert is_whole(tmp_path / "out" / "one")


@pytest.mark.slow
@pytest.mark.parametrize(("where", "valid"), [("refinement.shape.write_refined", False), ("generate.textured", True)])
def test_ctrl_c_after_the_fit_leaves_a_valid_object_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, valid: bool
) -> None:
    def interrupt(*given: Any) -> None:
        raise KeyboardInterrupt

    folder, out = write_sample(tmp_path / "one", PICTURES), tmp_path / "out"
    arguments = (refine, folder, "--out", out, "--cells", 16, "--steps", 2, "--anyway")
    with monkeypatch.context() as patched:
        patched.setattr(f"tunemv3d_shape.{where}", interrupt)
        assert run(*arguments).exit_code == 130
    assert is_whole(out / "one") == valid
    again = run(mesh, out / "one", *SMALL) if valid else run(*arguments)
    assert again.exit_code == 0, again.output
    assert (out / "one" / "object.glb").is_file()
