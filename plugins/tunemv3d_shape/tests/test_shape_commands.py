"""The commands on folders of toys: what they write, what they say, and that one bad object does not stop the others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from shape_command_toys import CAMERAS, PICTURES, SMALL, TOY, is_whole, run
from shape_toys import SPEC, BlindScene, Formula, numpy_of, seen, sphere, write_sample

from tunemv3d_core import generation
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.errors import SampleError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_core.io.samples import read_sample, write_scene
from tunemv3d_core.placement import Placement
from tunemv3d_core.slots import Pictures, TexturedMesh
from tunemv3d_shape.checkpoints import Checkpoints
from tunemv3d_shape.commands.mesh import mesh
from tunemv3d_shape.commands.refine import refine
from tunemv3d_shape.refinement.shape import read_refined

pytestmark = pytest.mark.usefixtures("toy_model", "toy_checkpoint")

SHAPE_OF_A_CHECKPOINT = Checkpoints.shape


def test_a_sample_gets_its_mesh_and_an_entry_in_its_manifest(tmp_path: Path) -> None:
    folder = write_sample(tmp_path / "chair", PICTURES)
    result = run(mesh, folder, *SMALL, "--raw", "--format", "ply,glb", "--json")
    assert result.exit_code == 0, result.output
    ((made,), failed) = json.loads(result.stdout).values()
    assert failed == [] and made["files"] == ["object.glb", "object.ply", "raw.ply"]
    assert made["watertight"] and made["raw_watertight"] and made["faces"] <= 500
    assert made["silhouette_iou"] > 0.9 and made["views_psnr"] is None
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["silhouette_iou"] == made["silhouette_iou"] and manifest["views_psnr"] is None
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


@pytest.mark.slow
def test_open_shows_a_page_where_the_mesh_turns_and_else_the_mesh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    monkeypatch.setenv("DISPLAY", ":0")
    folder = write_sample(tmp_path / "chair", PICTURES)
    assert run(mesh, folder, *SMALL, "--out", tmp_path / "else", "--open").exit_code == 0
    assert opened == [(tmp_path / "else/chair/object.glb").as_uri()]
    result = run(mesh, folder, *SMALL, "--open")
    assert result.exit_code == 0, result.output
    page = folder / "object.html"
    assert opened[1:] == [page.as_uri()]
    assert "model-viewer" in page.read_text("utf-8")
    told = run(mesh, folder, *SMALL)
    assert told.stderr.splitlines()[-1] == f"next: tunemv3d report {folder} --open" and len(opened) == 2


def test_the_shapes_own_views_are_compared_with_the_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shape that shows the same cameras another grey: 0.25 off where the object is, nowhere else."""

    def paler(cameras: Cameras) -> Pictures:
        return Pictures(PICTURES.colours + 0.25, PICTURES.alpha, cameras)

    monkeypatch.setattr(Checkpoints, "shape", lambda self, sample: Formula(TOY.distance, paler))
    result = run(mesh, write_sample(tmp_path / "chair", PICTURES), *SMALL, "--json")
    assert result.exit_code == 0, result.output
    ((made,), _) = json.loads(result.stdout).values()
    errors = [-10 * np.log10(0.25**2 * float(mask.mean())) for mask in PICTURES.alpha]
    assert made["views_psnr"] == pytest.approx(np.mean(errors), abs=0.05)
    assert json.loads((tmp_path / "chair" / "manifest.json").read_text())["views_psnr"] == made["views_psnr"]
    told = run(mesh, tmp_path / "chair", *SMALL)
    assert f"views on white {made['views_psnr']:.1f} dB" in told.output and "IoU" in told.output


def spoil(folder: Path, kind: str) -> None:
    """Make a sampled object's folder bad in one way."""
    if kind == "latent":
        write_scene(folder, torch.full((3, 4, 2, 2), torch.nan), CAMERAS)
    elif kind == "wordless":
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({k: v for k, v in manifest.items() if k != "prompt"}))
    elif kind == "inside":
        write_scene(folder, torch.zeros(3, 4, 2, 2), Cameras(NEAR, CAMERAS.intrinsics))
    elif kind == "scene":
        (folder / "scene.safetensors").unlink()
    elif kind == "gone":
        (folder / "views" / "001.png").unlink()
    elif kind == "damaged":
        (folder / "views" / "002.png").write_bytes(b"no picture")
    elif kind == "flat":
        Image.new("RGB", (32, 32)).save(folder / "views" / "000.png")
    elif kind == "wide":
        Image.new("RGBA", (40, 32)).save(folder / "views" / "000.png")
    elif kind == "frames":
        (folder / "transforms.json").write_text((folder / "transforms.json").read_text().replace("[", "[NaN,", 3))


NEAR = CAMERAS.camera_to_world.clone()
NEAR[1, :3, 3] *= 0.2

SAID = {
    "wordless": "manifest.json: names no 'prompt'",
    "latent": "scene.safetensors: view 0 is not finite (NaN)",
    "inside": "scene.safetensors: camera 1 lies inside the object's unit sphere",
    "scene": "scene.safetensors",
    "gone": "views/001.png: the view is missing",
    "damaged": "views/002.png: the view is damaged",
    "flat": "views/000.png: no alpha channel",
    "wide": "views/000.png: the picture has 40 x 32, but transforms.json says 32 x 32 pixels",
    "frames": "transforms.json",
    "empty": "no surface: the shape's signed distance is positive everywhere",
    "full": "no surface: the shape's signed distance is negative everywhere",
    "nan": "signed distance is not a finite number at",
}


@pytest.mark.parametrize("command", [mesh, refine])
def test_bad_objects_are_listed_and_the_others_are_made(tmp_path: Path, command: Any) -> None:
    source, out = tmp_path / "samples", tmp_path / "out"
    for kind in ("good", *SAID):
        spoil(write_sample(source / kind, PICTURES, prompt=kind), kind)
    options = SMALL if command is mesh else ("--cells", "16", "--steps", "2")
    result = run(command, source, "--out", out, *options, "--json")
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    assert [Path(made["folder"]).name for made in report["made"]] == ["good"]
    told = {Path(entry["folder"]).name: entry["error"] for entry in report["failed"]}
    assert told.keys() == SAID.keys()
    for kind, error in told.items():
        assert SAID[kind] in error and str(source / kind) in error
    assert [file.parent.name for file in out.glob("*/object.glb")] == ["good"]


def test_a_folder_that_is_not_writable_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The samples' own folders, one of which is locked; a superuser could write there all the same."""
    for name in ("locked", "open"):
        write_sample(tmp_path / name, PICTURES, prompt="nan" if name == "locked" else "a toy")
    monkeypatch.setattr("os.access", lambda place, mode: Path(place).name != "locked")
    result = run(mesh, tmp_path, *SMALL, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and [Path(made["folder"]).name for made in report["made"]] == ["open"]
    assert "locked is not writable; choose another folder with --out" in report["failed"][0]["error"]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["object.glb", "manifest.json"])
@pytest.mark.parametrize("command", [mesh, refine])
def test_a_disk_that_is_full_for_one_object_leaves_what_was_made_and_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any, file: str
) -> None:
    for name in ("one", "two"):
        write_sample(tmp_path / "in" / name, PICTURES)
    really = Path.open

    def full(path: Path, mode: str = "r", *given: Any, **options: Any) -> Any:
        if "w" in mode and path.parent.name == "one" and path.name.startswith(file):
            raise OSError(28, "No space left on device")
        return really(path, mode, *given, **options)

    monkeypatch.setattr(Path, "open", full)
    out = tmp_path / ("in" if command is mesh else "out")
    options = SMALL if command is mesh else ("--cells", "16", "--steps", "2", "--anyway", "--out", out)
    result = run(command, tmp_path / "in", *options, "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and [Path(made["folder"]).name for made in report["made"]] == ["two"]
    assert f"one/{file}: could not be written: No space left on device" in report["failed"][0]["error"]
    assert json.loads((out / "two" / "manifest.json").read_text())["files"]["mesh"] == "object.glb"
    if command is mesh:
        assert (out / "one" / "object.glb").exists() == (file == "manifest.json") and is_whole(out / "one")
        assert "mesh" not in json.loads((out / "one" / "manifest.json").read_text())["files"]
    else:
        assert bool(read_refined(out / "one").grid.distances.isfinite().all())
        assert is_whole(out / "one") == (file == "object.glb")
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "no sampled object here"),
        (("chair", "--format", "glb,fbx"), "--format glb,fbx: fbx; choose from glb, obj, ply"),
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


@pytest.fixture
def toy_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint that fails on one prompt, while another command writes into the same folder."""

    def generate(checkpoint: LoadedCheckpoint, prompt: str, out: Path) -> Path:
        write_sample(out / f"of-another-command-{prompt}", PICTURES)
        if prompt == "broken":
            raise SampleError("view 0 after step 1 of 2: numbers that are not finite")
        return write_sample(out / prompt.replace(" ", "-"), PICTURES, prompt=prompt, checkpoint=checkpoint.name)

    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.setattr(LoadedCheckpoint, "check_surface", lambda self: None)


def test_a_checkpoint_and_prompts_are_sampled_first(tmp_path: Path, toy_generate: None) -> None:
    write_sample(tmp_path / "older", PICTURES)
    result = run(mesh, "toy", "a chair", "empty", "--out", tmp_path, *SMALL, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [Path(made["folder"]).name for made in report["made"]] == ["a-chair"]
    assert [Path(entry["folder"]).name for entry in report["failed"]] == ["empty"]
    assert json.loads((tmp_path / "a-chair" / "manifest.json").read_text())["files"]["mesh"] == "object.glb"
    assert not (tmp_path / "older" / "object.glb").exists()
    assert not (tmp_path / "of-another-command-empty" / "object.glb").exists()


@pytest.mark.parametrize(("command", "options"), [(mesh, SMALL), (refine, ("--cells", "16", "--steps", "2"))])
def test_a_prompt_that_could_not_be_sampled_is_listed_and_the_others_are_made(
    tmp_path: Path, toy_generate: None, command: Any, options: tuple[str, ...]
) -> None:
    result = run(command, "toy", "a chair", "broken", "--out", tmp_path, *options, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert [Path(made["folder"]).name for made in report["made"]] == ["a-chair"]
    told = "'broken': view 0 after step 1 of 2: numbers that are not finite"
    assert report["failed"] == [{"prompt": "broken", "error": told}] and told in result.stderr


@pytest.mark.parametrize("command", [mesh, refine])
def test_a_checkpoint_without_a_surface_is_refused_before_anything_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    monkeypatch.setattr(generation, "generate", lambda *given: pytest.fail("sampled"))
    result = run(command, "toy", "a chair", "--out", tmp_path / "out")
    assert isinstance(result.exception, SampleError)
    assert str(result.exception) == "the field of 'toy' has no surface, so there is nothing to mesh"
    monkeypatch.setattr(BlindScene, "signed_distance", lambda *given: None, raising=False)
    Checkpoints(Placement(torch.device("cpu"))).get("toy").check_surface()


@pytest.mark.parametrize("command", [mesh, refine])
def test_an_empty_prompt_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Any
) -> None:
    monkeypatch.setattr(LoadedCheckpoint, "load", lambda name, *_: pytest.fail("loaded"))
    result = run(command, "toy", "a chair", " ", "--out", tmp_path / "out")
    assert isinstance(result.exception, TuneMV3DError) and "a prompt is empty" in str(result.exception)


def test_views_of_another_thing_are_told_and_the_mesh_is_made(tmp_path: Path) -> None:
    """The views show a ball in one corner, where the shape is not."""
    elsewhere = seen(numpy_of(sphere(0.15, (0.6, 0.6, 0.2))), CAMERAS, 32)
    result = run(mesh, write_sample(tmp_path / "chair", elsewhere), *SMALL, "--json")
    assert result.exit_code == 0, result.output
    ((made,), _) = json.loads(result.stdout).values()
    assert made["silhouette_iou"] < 0.3 and made["iou_as_generated"] < 0.3
    (note,) = made["notes"]
    assert "does not know this object" in note and "docs/troubleshooting.md" in note
    assert json.loads((tmp_path / "chair" / "manifest.json").read_text())["notes"] == [note]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--size", "huge"), "--size huge: a height with its unit is expected"),
        (("--mesher", "marching-cube"), "no component 'marching-cube'"),
    ],
)
def test_sizes_and_meshers_that_are_not_known_are_refused(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    folder = write_sample(tmp_path / "chair", PICTURES)
    result = run(mesh, folder, *options)
    assert isinstance(result.exception, TuneMV3DError) and said in str(result.exception)


def test_another_mesher_makes_the_mesh_and_takes_none_of_our_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corners = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces, flat = np.int32([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]), np.zeros((4, 4, 3), np.uint8)
    tetrahedron = TexturedMesh(corners, faces, corners, flat[0], corners[:, :2], np.int32([0, 1, 2, 3]), faces, flat)
    monkeypatch.setattr(generation, "build_mesher", lambda name: lambda shape, views, device: tetrahedron)
    folder = write_sample(tmp_path / "chair", PICTURES)
    result = run(mesh, folder, "--mesher", "theirs", "--size", "50cm", "--json")
    assert result.exit_code == 0, result.output
    ((made,), _) = json.loads(result.stdout).values()
    assert made["faces"] == 4 and made["height"] == pytest.approx(0.5)
    refused = run(mesh, folder, "--mesher", "theirs", "--faces", "500", "--raw")
    assert "--faces, --raw: only for the mesher marching-cubes, not for 'theirs'" in str(refused.exception)


def test_an_object_of_another_checkpoint_is_told_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlindScene, "signed_distance", lambda *given: None, raising=False)
    models = Checkpoints(Placement(torch.device("cpu")))
    same = read_sample(write_sample(tmp_path / "same", PICTURES, spec_id=spec_id(SPEC)))
    assert SHAPE_OF_A_CHECKPOINT(models, same).size == (2, 2)
    older = read_sample(write_sample(tmp_path / "older", PICTURES, spec_id="0" * 64))
    with pytest.warns(
        TuneMV3DWarning, match="older: was sampled with another 'toy' than there is now .spec 000000000000"
    ):
        SHAPE_OF_A_CHECKPOINT(models, older)
    write_scene(tmp_path / "same", torch.zeros(3, 16, 2, 2), CAMERAS)
    with pytest.raises(SampleError, match=r"latents are \(3, 16, 2, 2\), where 3 views of 4 channels are expected"):
        SHAPE_OF_A_CHECKPOINT(models, read_sample(tmp_path / "same"))
