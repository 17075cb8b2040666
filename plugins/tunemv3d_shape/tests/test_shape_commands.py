"""The commands on folders of toys: what they write, what they say, and that one bad object does not stop the others."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import trimesh
import typer
from shape_toys import Formula, box, numpy_of, seen, sphere, write_sample
from typer.testing import CliRunner

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.plugin import CommandPlugin
from tunemv3d_core.registry import registry
from tunemv3d_core.samples import is_sample, write_scene
from tunemv3d_shape import making
from tunemv3d_shape.commands import objects
from tunemv3d_shape.commands.mesh import mesh
from tunemv3d_shape.commands.refine import refine
from tunemv3d_shape.export import as_trimesh
from tunemv3d_shape.making import MeshOptions
from tunemv3d_shape.refinement import fit as fitting
from tunemv3d_shape.refinement.shape import read_refined
from tunemv3d_shape.shapes import Models
from tunemv3d_shape.surface import extract_surface

CAMERAS = Cameras.orbit(3, elevation=30)
TOY = box((0.3, 0.4, 0.35))
PICTURES = seen(numpy_of(TOY), CAMERAS, 32)
SMALL = ("--resolution", "32", "--faces", "500", "--texture", "64")


@pytest.fixture(autouse=True)
def toy_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sample's shape is the toy, but for prompts that say otherwise."""
    shapes: dict[str, Formula] = {"empty": sphere(-0.3)}
    monkeypatch.setattr(making, "MeshOptions", lambda *given: MeshOptions(*given or (32, 500, 64)))
    monkeypatch.setattr(Models, "shape", lambda self, sample: shapes.get(sample.prompt, TOY))


def run(command: Any, *arguments: object) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_sample_gets_its_mesh_and_an_entry_in_its_manifest(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "chair", PICTURES)
    result = run(mesh, folder, *SMALL, "--raw", "--format", "ply,glb", "--json")
    assert result.exit_code == 0, result.output
    ((made,), failed) = json.loads(result.stdout).values()
    assert failed == [] and made["files"] == ["object.glb", "object.ply", "raw.ply"]
    assert made["watertight"] and made["raw_watertight"] and made["faces"] <= 500
    assert made["silhouette_iou"] > 0.85
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["mesh"] == "object.glb" and manifest["files"]["views"][0] == "views/000.png"
    raw = trimesh.load(folder / "raw.ply")
    assert raw.is_watertight and len(raw.faces) > 500
    assert raw.volume == pytest.approx(8 * 0.3 * 0.4 * 0.35, rel=0.05)


def test_out_leaves_the_sample_as_it_is(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "chair", PICTURES)
    before = (folder / "manifest.json").read_bytes()
    result = run(mesh, folder, *SMALL, "--out", tmp_path / "meshes")
    assert result.exit_code == 0 and "meshes/chair/object.glb" in result.output
    assert (tmp_path / "meshes" / "chair" / "object.glb").is_file()
    assert (folder / "manifest.json").read_bytes() == before and not (folder / "object.glb").exists()


def test_bad_objects_are_listed_and_the_others_are_made(tmp_path: Path) -> None:
    folders = {name: write_sample(tmp_path / name, PICTURES) for name in ("good", "nan", "scene", "view", "alpha")}
    write_sample(tmp_path / "empty", PICTURES, prompt="empty")
    write_scene(folders["nan"], torch.full((3, 4, 2, 2), torch.nan), CAMERAS)
    (folders["scene"] / "scene.safetensors").unlink()
    (folders["view"] / "views" / "001.png").unlink()
    (folders["alpha"] / "views" / "002.png").write_bytes(b"no picture")
    result = run(mesh, tmp_path, *SMALL, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [Path(made["folder"]).name for made in report["made"]] == ["good"]
    told = {Path(entry["folder"]).name: entry["error"] for entry in report["failed"]}
    assert "views/002.png: the view is damaged" in told["alpha"]
    assert "no surface" in told["empty"] and "--seed" in told["empty"]
    assert "view 0 is not finite (NaN)" in told["nan"]
    assert "scene.safetensors" in told["scene"]
    assert "views/001.png: the view is missing" in told["view"]
    assert (folders["good"] / "object.glb").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "no sampled object here"),
        (("chair", "--format", "glb,fbx"), "--format glb,fbx: fbx; choose of glb, obj, ply"),
        (("chair", "--out", "chair/manifest.json"), "is a file"),
        (("chair", "--out", "/proc/meshes"), "/proc is not writable"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda place, mode: not str(place).startswith("/proc"))
    write_sample(tmp_path / "chair", PICTURES)
    result = run(mesh, *arguments, *SMALL)
    assert isinstance(result.exception, TuneMV3DError) and said in str(result.exception)
    assert not (tmp_path / "chair" / "object.glb").exists()


def toy_sample(checkpoint: str, prompts: list[str], out: Path = Path("samples")) -> None:
    """Stands for the installed command ``sample``."""
    print("said on standard output")
    for prompt in prompts:
        write_sample(out / prompt.replace(" ", "-"), PICTURES, prompt=prompt, checkpoint=checkpoint)


def test_a_checkpoint_and_prompts_are_sampled_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry(), "load", lambda record: CommandPlugin("sample", "here:toy_sample", ""))
    monkeypatch.setattr(objects, "load_value", lambda app: toy_sample)
    write_sample(tmp_path / "older", PICTURES)
    result = run(mesh, "toy", "a chair", "empty", "--out", tmp_path, *SMALL, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [Path(made["folder"]).name for made in report["made"]] == ["a-chair"]
    assert [Path(entry["folder"]).name for entry in report["failed"]] == ["empty"]
    assert json.loads((tmp_path / "a-chair" / "manifest.json").read_text())["files"]["mesh"] == "object.glb"
    assert not (tmp_path / "older" / "object.glb").exists()


def test_refine_makes_a_sampled_object_that_meshes_as_it_was_refined(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "chair", PICTURES)
    result = run(refine, folder, "--out", tmp_path / "out", "--cells", 16, "--steps", 3, "--json")
    assert result.exit_code == 0, result.output
    (made,) = json.loads(result.stdout)["made"]
    place = tmp_path / "out" / "chair"
    assert made["steps"] == 3 and made["files"] == ["object.glb"] and is_sample(place)
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["prompt"] == "a toy" and manifest["refined"]["cells"] == 16
    assert manifest["files"]["renders"] == ["renders/000.png", "renders/001.png", "renders/002.png"]
    assert all((place / file).is_file() for file in (*manifest["files"]["renders"], "progress.png", "views/002.png"))
    assert manifest["files"]["mesh"] == "object.glb"
    again = run(mesh, place, *SMALL, "--out", tmp_path / "again", "--format", "ply")
    assert again.exit_code == 0, again.output
    kept = as_trimesh(extract_surface(read_refined(place), 32))
    assert trimesh.load(tmp_path / "again/chair/object.ply").volume == pytest.approx(kept.volume, rel=0.02)
    taken = run(refine, folder, "--out", tmp_path / "out", "--cells", 16, "--steps", 3)
    assert taken.exit_code == 1 and "holds a refined object already" in taken.output


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
