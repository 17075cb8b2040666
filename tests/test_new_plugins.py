"""Packages as ``tunemv3d plugins new`` writes them: they install, type-check, conform and train, untouched."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_tutorial import TYPES

from tunemv3d_core.scaffold.write import SLOTS, TEMPLATES, write_package

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent
TRAINED = [slot for slot in SLOTS if (TEMPLATES / slot / "src/$name/mini.json.txt").is_file()]
"""Slots whose package has a spec that trains its component."""
PARTS = {slot: {"type": f"my_{slot}"} for slot in ("backbone", "view_encoder", "field", "lifter", "injector")}
MERGED = {"backbone": PARTS["backbone"], "field": {"aggregator": {"type": "my_aggregator"}}}
PLACES = {
    "aggregator": "model.field.aggregator",
    "dataset": "data",
    "loss": "loss.terms.my_loss",
    "optimizer": "optimizer.algorithm",
    "schedule": "optimizer.schedule",
}
MYPY = """[tool.mypy]
strict = true
mypy_path = "src"
explicit_package_bases = true
"""
QUICK = {
    "views": {"inputs": 2, "novel": 1, "clean_probability": 0},
    "train": {"steps": 2, "batch": 1, "preview_prompts": ["a ball"]},
    "sample": {"steps": 1, "scheduler": ""},
}
"""Two steps of a run are as good as many to see that it runs."""


class Packages:
    """One package a slot, in a folder that is on the path of the commands run here and of no other process."""

    def __init__(self, folder: Path) -> None:
        self.folder, site = folder, folder / "site"
        self.environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
        for slot in SLOTS:
            write_package(slot, f"my_{slot}", folder / f"my_{slot}")
        options = ["-q", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(site)]
        folders = [str(folder / f"my_{slot}") for slot in SLOTS]
        self.run(sys.executable, "-m", "pip", "install", *options, *folders)

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [*words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tunemv3d(self, *words: str) -> str:
        return self.run(str(BIN / "tunemv3d"), *words)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Packages:
    return Packages(tmp_path_factory.mktemp("packages"))


def test_they_are_listed_and_load(packages: Packages) -> None:
    rows = json.loads(packages.tunemv3d("plugins", "list", "--load", "--json"))
    mine = {(row["slot"], row["name"]): row["problem"] for row in rows if row["distribution"].startswith("my-")}
    parts = {(slot, f"my_{slot}") for slot in SLOTS}
    assert mine == dict.fromkeys(parts | {("spec", f"my_{slot}-mini") for slot in TRAINED})


def test_their_specs_use_them(packages: Packages) -> None:
    packages.tunemv3d("spec", "validate", *(f"my_{slot}-mini" for slot in TRAINED))
    for slot in TRAINED:
        told = packages.tunemv3d("spec", "diff", "chairs-mini", f"my_{slot}-mini", "--json")
        changed = {path: new for path, (_, new) in json.loads(told).items() if new and path.endswith(".type")}
        assert changed == {f"{PLACES.get(slot, f'model.{slot}')}.type": f"my_{slot}"}


def test_types_are_checked_strictly(packages: Packages) -> None:
    """All in one run, by the settings that each package has."""
    settings = {slot: (packages.folder / f"my_{slot}/pyproject.toml").read_text("utf-8") for slot in SLOTS}
    assert {text[text.index("[tool.mypy]") :] for text in settings.values()} == {MYPY}
    packages.environment["MYPY_CACHE_DIR"] = str(TYPES)
    packages.environment["MYPYPATH"] = os.pathsep.join(str(packages.folder / f"my_{slot}/src") for slot in SLOTS)
    folders = [f"my_{slot}/{part}" for slot in SLOTS for part in ("src", "tests")]
    packages.run(str(BIN / "mypy"), "--config-file", "my_field/pyproject.toml", *folders)


def test_their_own_tests_pass(packages: Packages) -> None:
    tests = [f"my_{slot}/tests" for slot in SLOTS]
    told = packages.run(str(BIN / "pytest"), "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *tests)
    assert "passed" in told and "failed" not in told


def test_the_command_asks_the_same(packages: Packages) -> None:
    """Of the dataset, which is asked in seconds; of a field in the tutorial."""
    (found,) = json.loads(packages.tunemv3d("plugins", "check", "my_dataset", "--json"))
    outcome = {check["check"]: check["outcome"] for check in found["checks"]}
    assert {outcome.pop(name) for name in ("streams", "maps")} == {"not applicable"}
    assert len(outcome) > 5 and set(outcome.values()) == {"passed"}


@pytest.mark.parametrize("model", [PARTS, MERGED], ids=["parts", "merged"])
def test_they_train(model: dict[str, object], packages: Packages, tmp_path: Path) -> None:
    """All parts of a model, the loss and how it learns at once, and the aggregator inside the field ``neus``."""
    parts = None if "lifter" in model else {"field": {"lr_scale": 1}}
    spec = {"extends": "chairs-mini", "name": "mine", "model": model, "data": {"type": "my_dataset"}, **QUICK}
    if model is PARTS:
        spec |= {"loss": {"terms": {"mine": {"type": "my_loss"}}}}
    learning = {"algorithm": {"type": "my_optimizer"}, "schedule": {"type": "my_schedule"}} if model is PARTS else {}
    (tmp_path / "mine.json").write_text(json.dumps(spec | {"optimizer": {"parts": parts} | learning}))
    words = [str(tmp_path / "mine.json"), "--out", str(tmp_path / "run"), "--json"]
    outcome = json.loads(packages.run(str(BIN / "tunemv3d-train"), *words))
    assert outcome["step"] == 2
    provenance = json.loads((tmp_path / "run" / outcome["checkpoint"] / "provenance.json").read_text())
    used = {slot: part["distribution"] for slot, part in provenance["components"].items()}
    own = {slot for slot, distribution in used.items() if distribution == f"my-{slot.replace('_', '-')}"}
    assert own == (set(PARTS) if model is PARTS else {"backbone"})
    assert provenance["data"]["dataset"]["type"] == "my_dataset"
    assert [part["distribution"] for part in provenance["losses"].values()] == ["my-loss"] * (model is PARTS)


EGG = """
import numpy, torch
from my_mesh_renderer import mesh_renderer
from my_mesh_renderer.spec import MyMeshRendererSpec
from my_mesher import mesher
from my_mesher.spec import MyMesherSpec
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.testing.painted import RED, Ellipsoid
from tunemv3d_data.renderers.embree import EmbreeRenderer

egg = Ellipsoid((0.5, 0.3125, 0.625), colour=RED)
views = egg.pictures(Cameras.orbit(8, elevation=20))
mesh = mesher.build(MyMesherSpec(type="my_mesher"))(egg, views, torch.device("cpu"))
print(mesh.watertight, *mesh.vertices.max(0).round(4))
renderer, cameras = mesh_renderer.build(MyMeshRendererSpec(type="my_mesh_renderer")), Cameras.orbit(2, 30, aspect=1.5)
for one, other in zip(renderer(mesh, cameras, (24, 36)), EmbreeRenderer(1)(mesh, cameras, (24, 36)), strict=True):
    print(*(abs(one[key].astype(float) - other[key]).mean() for key in ("depth", "normals", "rgba", "material")))
"""
"""Meshes an ellipsoid, and renders it by rasterising and, as ``embree`` does, by casting rays."""


def test_the_mesher_finds_the_surface_and_the_renderer_sees_what_rays_hit(packages: Packages) -> None:
    found, *views = packages.run(sys.executable, "-c", EGG).splitlines()
    assert found == "True 0.5 0.3125 0.625" and len(views) == 2
    for depth, normals, rgba, material in (map(float, view.split()) for view in views):
        assert depth < 1e-5 and normals < 1e-5 and rgba < 1 and material == 0


def test_the_written_command_runs(packages: Packages) -> None:
    assert "field: my_field" in packages.tunemv3d("my_command", "my_field-mini")
