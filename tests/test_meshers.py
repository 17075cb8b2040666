"""Meshes made while sampling, and samples made while meshing: one load of the checkpoint, on the device asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tunemv3d_core import generation
from tunemv3d_core.console import run
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.io import checkpoint
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.plugins.registry import Registry
from tunemv3d_core.slots import Pictures, Shape, TexturedMesh
from tunemv3d_modulation.sample import sample
from tunemv3d_shape import silhouette_fit
from tunemv3d_shape import spec as shape_spec
from tunemv3d_shape.commands.mesh import mesh
from tunemv3d_shape.commands.refine import refine

COARSE = ("--resolution", 16, "--faces", 100, "--texture", 32)


@pytest.fixture(autouse=True)
def devices(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The device of every model that is assembled from a checkpoint, in a tenth of a second of sampling each."""
    found: list[torch.device] = []
    assemble, load_spec = checkpoint.assemble, checkpoint.load_spec

    def counted(spec: Any, device: Any, dtype: torch.dtype) -> Any:
        found.append(torch.device(device))
        return assemble(spec, device, dtype)

    def hasty(*given: Any, **options: Any) -> Any:
        spec = load_spec(*given, **options)
        views = spec.views.model_copy(update={"inputs": 2})
        coarse = spec.model.field.model_copy(update={"samples": 4, "fine_samples": 4})
        model = spec.model.model_copy(update={"field": coarse})
        steps = spec.sample.model_copy(update={"steps": 2})
        return spec.model_copy(update={"sample": steps, "views": views, "model": model})

    monkeypatch.setattr(silhouette_fit, "CELLS", 16)
    monkeypatch.setattr(checkpoint, "assemble", counted)
    monkeypatch.setattr(checkpoint, "load_spec", hasty)
    return found


def call(command: Any, *arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        run(command, [str(argument) for argument in arguments])
    return int(end.value.code or 0)


class Tetrahedron:
    """A third party's mesher: the same mesh of everything, and a note of what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Shape, Pictures, torch.device]] = []

    def __call__(self, shape: Shape, views: Pictures, device: torch.device) -> TexturedMesh:
        self.given.append((shape, views, device))
        vertices = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
        faces = np.int32([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
        white, corners = np.full((4, 4, 3), 255, np.uint8), np.arange(4, dtype=np.int32)
        return TexturedMesh(
            vertices, faces, vertices, white[0], vertices[:, :2], corners, faces, white, {"volume": 1 / 6}
        )


@pytest.mark.slow
def test_two_prompts_with_meshes_load_the_checkpoint_once(
    tmp_path: Path, devices: list[torch.device], monkeypatch: pytest.MonkeyPatch
) -> None:
    mesher = Tetrahedron()
    monkeypatch.setattr("tunemv3d_core.generation.build_mesher", lambda name: mesher)
    assert call(sample, "chairs-mini", "a red chair", "a stool", "--mesh", "--device", "cpu", "--out", tmp_path) == 0
    assert len(devices) == 1
    assert [given[2] for given in mesher.given] == [torch.device("cpu")] * 2
    one, other = (given[0] for given in mesher.given)
    assert one.model is other.model and one.scene is not other.scene
    for name in ("a-red-chair", "a-stool"):
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert manifest["files"]["mesh"] == "object.glb" and manifest["volume"] == 1 / 6
        assert (tmp_path / name / "object.glb").read_bytes()[:4] == b"glTF"


@pytest.mark.slow
@pytest.mark.parametrize(("command", "options"), [(mesh, COARSE), (refine, ("--cells", 16, "--steps", 1))])
def test_prompts_and_a_checkpoint_load_it_once(
    tmp_path: Path, devices: list[torch.device], command: Any, options: tuple[object, ...], monkeypatch: Any
) -> None:
    coarse = shape_spec.MarchingCubesSpec(resolution=16, faces=100, texture=32)
    monkeypatch.setattr(shape_spec, "MarchingCubesSpec", lambda **_: coarse)
    places = ("--out", tmp_path / "out", "--device", "cpu")
    call(command, "chairs-mini", "a red chair", "a stool", *options, *places)
    assert devices == [torch.device("cpu")]
    made = tmp_path / "out" / ("samples" if command is refine else "")
    assert sorted(f.name for f in made.iterdir() if (f / "scene.safetensors").is_file()) == ["a-red-chair", "a-stool"]


@pytest.mark.slow
def test_samples_of_one_checkpoint_load_it_once_whatever_it_is_called(
    tmp_path: Path, devices: list[torch.device], capsys: pytest.CaptureFixture[str]
) -> None:
    """Three objects, of which the middle one says by its checkpoint's path where the others say its name."""
    prompts = ("a bench", "a chair", "a stool")
    assert call(sample, "chairs-mini", *prompts, "--out", tmp_path) == 0
    folder = find_asset("chairs-mini")
    manifest = tmp_path / "a-chair" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"checkpoint": "chairs-mini"', f'"checkpoint": "{folder}"'))
    devices.clear()
    capsys.readouterr()
    call(mesh, tmp_path, *COARSE, "--json")
    report = json.loads(capsys.readouterr().out)
    assert len(report["made"]) + len(report["failed"]) == 3 and len(devices) == 1


@pytest.mark.slow
def test_sample_and_mesh_with_a_prompt_make_the_same_object(tmp_path: Path) -> None:
    call(sample, "chairs-mini", "a red chair", "--out", tmp_path / "one")
    call(mesh, "chairs-mini", "a red chair", "--out", tmp_path / "other", *COARSE)
    for file in ("scene.safetensors", "views/001.png", "normals/000.png", "transforms.json"):
        one, other = (tmp_path / name / "a-red-chair" / file for name in ("one", "other"))
        assert one.read_bytes() == other.read_bytes(), file
    written, again = (json.loads((tmp_path / n / "a-red-chair/manifest.json").read_text()) for n in ("one", "other"))
    measured = ("silhouette_iou", "iou_as_generated", "iou_corrected", "height", "views_psnr")
    left_out = ("seconds", "files", "images", "notes", *measured)
    assert {k: v for k, v in written.items() if k not in left_out} == {
        k: v for k, v in again.items() if k not in left_out
    }


def test_without_a_mesher_a_mesh_is_refused_before_anything_is_loaded(
    tmp_path: Path, devices: list[torch.device], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Registry.records
    monkeypatch.setattr(Registry, "records", lambda self, slot: [] if slot == "mesher" else known(self, slot))
    assert call(sample, "chairs-mini", "a red chair", "--mesh", "--out", tmp_path) == 2
    assert "no mesher is installed, which a mesh needs: pip install tunemv3d-shape" in capsys.readouterr().err
    assert devices == [] and not list(tmp_path.iterdir())


def test_an_unknown_mesher_is_told_with_those_that_are_installed() -> None:
    with pytest.raises(ComponentError, match=r"no component 'marching-cube'.*Did you mean 'marching-cubes'"):
        generation.build_mesher("marching-cube")
