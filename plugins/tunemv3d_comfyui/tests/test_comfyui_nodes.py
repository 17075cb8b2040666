"""The nodes in a stand-in for ComfyUI: what they give is what core samples, what cannot be made is said."""

import copy
import importlib.util
import json
import logging
import math
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import show_toys as toys
import torch
import trimesh
from comfyui_stand_in import Executor, Refused
from PIL import Image

from tunemv3d_comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, loading, making
from tunemv3d_core.additions import Additions
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.run_spec import SampleSpec
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.generation import LoadedCheckpoint
from tunemv3d_core.placement import Placement
from tunemv3d_core.sampling import sample
from tunemv3d_shape.generate import build
from tunemv3d_shape.spec import MarchingCubesSpec

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
WORKFLOW = json.loads(re.search(r"```json\n(.*?)```", README, flags=re.DOTALL).group(1))
RADIUS = 0.7 - 0.4 * 20 / 1000
"""Of the toy field's ball in finished views."""


class Stopped(Exception):
    """As ``comfy.model_management.InterruptProcessingException``."""


class Adapting(toys.Backbone):
    """The toy's backbone, which notes what LoRA it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: dict[str, str] = {}
        self.weights: dict[str, float] = {}

    def load_lora_weights(self, source: str, adapter_name: str) -> None:
        self.loaded[adapter_name] = source

    def set_adapters(self, adapter_names: list[str], adapter_weights: list[float]) -> None:
        self.weights = dict(zip(adapter_names, adapter_weights, strict=True))

    def load_textual_inversion(self, source: str) -> None:
        raise NotImplementedError


class Host:
    """ComfyUI's modules as far as nodes use them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bars, self.done, self.stop_after = folder, [], 0, math.inf
        folders, utils, management = (ModuleType(n) for n in ("folder_paths", "comfy.utils", "comfy.model_management"))
        folders.get_output_directory = lambda: str(folder / "output")
        folders.get_temp_directory = lambda: str(folder / "temp")
        folders.get_full_path = lambda kind, name: (
            str(folder / kind / name) if (folder / kind / name).exists() else None
        )
        utils.ProgressBar = self.bar
        management.get_torch_device = lambda: torch.device("cpu")
        management.throw_exception_if_processing_interrupted = self.check
        self.modules = {module.__name__: module for module in (folders, utils, management)}

    def bar(self, total: int) -> "Host":
        self.bars.append(total)
        return self

    def update(self, steps: int) -> None:
        self.done += steps

    def check(self) -> None:
        if self.done >= self.stop_after:
            raise Stopped


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path / "ComfyUI")
    for name, module in made.modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(loading, "_kept", {})
    return made


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Placement, Additions]]:
    """What is loaded from disk, which is always the toy."""
    seen: list[tuple[str, Placement, Additions]] = []

    def load(name: str, place: Placement, added: Additions) -> LoadedCheckpoint:
        seen.append((name, place, added))
        model = toys.ball_model(field=not name.endswith("flat"))
        model.backbone = Adapting()
        added.apply(model)
        return LoadedCheckpoint(name, toys.SPEC, model, {"licences": {"CC0-1.0": 8}})

    monkeypatch.setattr(LoadedCheckpoint, "load", load)
    return seen


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mesher with options that take a tenth of the time."""
    options = MarchingCubesSpec(resolution=32, faces=1000, texture=64)
    monkeypatch.setattr(making, "build_mesher", {"marching-cubes": build(options)}.__getitem__)


@pytest.fixture
def workflow(tmp_path: Path, loads: Any, host: Host, coarse: None) -> dict[str, Any]:
    """The README's, with the toy, few steps, a coarse mesh and a prompt of no typical height."""
    changed = copy.deepcopy(WORKFLOW)
    changed["1"]["inputs"]["checkpoint"] = checkpoint(tmp_path, "ball")
    changed["2"]["inputs"] |= {"prompt": "a red blob", "steps": 3, "views": 4, "consistency": 1.0, "guidance": 2.0}
    return changed


def checkpoint(folder: Path, name: str) -> str:
    (folder / name).mkdir()
    (folder / name / "provenance.json").write_text("{}")
    return str(folder / name)


@pytest.fixture
def comfy() -> Executor:
    return Executor(NODE_CLASS_MAPPINGS)


def expected(prompt: str, field: bool = True, **options: Any) -> torch.Tensor:
    """Views ``n h w 3`` by core's sampler alone; the toy's latents are pictures in [-1, 1]."""
    model = toys.ball_model(field)
    text, nothing = (model.backbone.encode_text([words]) for words in (prompt, ""))
    options = {"steps": 3, "guidance": 2.0, **options}
    around = Cameras.orbit(4, elevation=20)[None]
    latents = sample(model, text, around, [0], SampleSpec(**options), negative=nothing)
    return (latents[0] / 2 + 0.5).clamp(0, 1).movedim(1, -1)


def test_the_pack_is_what_comfyui_reads() -> None:
    assert set(NODE_DISPLAY_NAME_MAPPINGS) == set(NODE_CLASS_MAPPINGS)
    for node in NODE_CLASS_MAPPINGS.values():
        assert callable(getattr(node, node.FUNCTION)) and node.CATEGORY == "TuneMV3D"
        inputs = node.INPUT_TYPES()
        for kind, options in [*inputs["required"].values(), *inputs.get("optional", {}).values()]:
            default = options.get("default")
            assert kind in ("STRING", "INT", "FLOAT") or default in (kind if isinstance(kind, list) else [None])
            if "min" in options:
                assert options["min"] <= default <= options["max"]


def test_the_readmes_folder_is_a_node_pack(tmp_path: Path) -> None:
    text = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    (tmp_path / "__init__.py").write_text(text)
    # As ComfyUI loads a folder of custom_nodes.
    spec = importlib.util.spec_from_file_location("custom_tunemv3d", tmp_path / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS == NODE_CLASS_MAPPINGS
    assert module.NODE_DISPLAY_NAME_MAPPINGS == NODE_DISPLAY_NAME_MAPPINGS


@pytest.mark.slow
def test_the_readmes_workflow_gives_the_views_that_core_samples(
    comfy: Executor, workflow: dict[str, Any], host: Host
) -> None:
    del workflow["4"]  # takes a while
    outputs, shown = comfy.run(workflow)
    views, opacity, _ = outputs["2"]
    assert torch.equal(views, expected("a red blob"))
    assert host.bars == [3] and host.done == 3
    # A ball's outline is nearly a disc.
    sine = RADIUS / 2.7
    assert float(opacity.mean()) == pytest.approx(math.pi * (1.3 * sine / (1 - sine**2) ** 0.5) ** 2, rel=0.1)
    picture = np.asarray(Image.open(host.folder / "temp" / shown["3"]["images"][0]["filename"]))
    assert picture.shape == (4 * 16, 4 * 16, 3) and shown["3"]["images"][0]["type"] == "temp"
    assert np.array_equal(outputs["3"][0][0].mul(255).round().byte().numpy(), picture)
    first_row = torch.cat(list(views), dim=1)
    assert float((outputs["3"][0][0, :16] - first_row).abs().max()) < 1 / 255


@pytest.mark.slow
def test_the_mesh_is_the_ball_in_the_output_folder(comfy: Executor, workflow: dict[str, Any], host: Host) -> None:
    outputs, shown = comfy.run(workflow)
    assert outputs["4"] == ("mesh/armchair_00001_.glb",)
    assert shown["4"]["3d"] == [{"filename": "armchair_00001_.glb", "subfolder": "mesh", "type": "output"}]
    file = host.folder / "output" / outputs["4"][0]
    mesh = trimesh.load(file, force="mesh")
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(RADIUS, abs=0.05)
    about = json.loads(
        file.read_bytes()[20:].split(b"\x00", 1)[0][: int.from_bytes(file.read_bytes()[12:16], "little")]
    )
    assert about["nodes"][0]["name"] == "a red blob" and "CC0-1.0" in about["asset"]["copyright"]


@pytest.mark.slow
def test_at_k_0_it_is_the_2d_model_alone(comfy: Executor, workflow: dict[str, Any]) -> None:
    del workflow["4"]  # takes a while
    plain = expected("a red blob", field=False)
    workflow["2"]["inputs"]["consistency"] = 0.0
    assert torch.equal(comfy.run(workflow)[0]["2"][0], plain)
    workflow["2"]["inputs"]["consistency"] = 2.0
    assert torch.equal(comfy.run(workflow)[0]["2"][0], expected("a red blob", consistency=2.0))
    assert not torch.equal(expected("a red blob", consistency=2.0), plain)


@pytest.mark.slow
def test_only_what_changed_is_made_again_and_no_file_is_overwritten(
    comfy: Executor, workflow: dict[str, Any], host: Host, loads: list[Any]
) -> None:
    comfy.run(workflow)
    comfy.run(workflow)
    assert comfy.ran == []
    workflow["2"]["inputs"]["prompt"] = "a blob"
    outputs, _ = comfy.run(workflow)
    assert comfy.ran == ["2", "3", "4"] and len(loads) == 1
    assert outputs["4"] == ("mesh/armchair_00002_.glb",)
    assert len(list((host.folder / "output" / "mesh").iterdir())) == 2


@pytest.mark.slow
def test_a_newer_checkpoint_is_loaded(comfy: Executor, workflow: dict[str, Any], loads: list[Any]) -> None:
    del workflow["4"]  # takes a while
    comfy.run(workflow)
    os.utime(Path(workflow["1"]["inputs"]["checkpoint"]) / "provenance.json", ns=(1, 1))
    comfy.run(workflow)
    assert comfy.ran == ["1", "2", "3"] and len(loads) == 2


@pytest.mark.slow
def test_a_stop_ends_the_sampling_and_the_next_one_runs(comfy: Executor, workflow: dict[str, Any], host: Host) -> None:
    del workflow["4"]  # takes a while
    host.stop_after = 1
    with pytest.raises(Stopped):
        comfy.run(workflow)
    assert host.done == 1
    host.stop_after = math.inf
    assert torch.equal(comfy.run(workflow)[0]["2"][0], expected("a red blob"))


def with_loras(workflow: dict[str, Any], *loras: tuple[str, float]) -> dict[str, Any]:
    changed, before = copy.deepcopy(workflow), "1"
    for number, (file, weight) in enumerate(loras):
        key = f"lora {number}"
        changed[key] = {"class_type": "TuneMV3DLora", "inputs": {"model": [before, 0], "file": file, "weight": weight}}
        before = key
    changed["2"]["inputs"]["model"] = [before, 0]
    return changed


@pytest.mark.slow
def test_loras_come_on_top_with_their_weights(
    comfy: Executor, workflow: dict[str, Any], host: Host, loads: list[Any], tmp_path: Path
) -> None:
    del workflow["4"]  # takes a while
    (host.folder / "loras").mkdir(parents=True)
    (host.folder / "loras" / "ink.safetensors").write_bytes(b"1")
    (tmp_path / "wood:2.safetensors").write_bytes(b"2")
    ink, wood = "ink.safetensors", str(tmp_path / "wood:2.safetensors")

    def backbone() -> Adapting:
        return next(iter(loading._kept.values())).model.backbone

    comfy.run(with_loras(workflow, (ink, 0.5), (wood, -1.0)))
    assert backbone().loaded == {"lora-0": str(host.folder / "loras" / ink), "lora-1": wood}
    assert backbone().weights == {"lora-0": 0.5, "lora-1": -1.0}
    comfy.run(with_loras(workflow, (ink, 0.25), (wood, -1.0)))
    assert backbone().weights == {"lora-0": 0.25, "lora-1": -1.0} and len(loads) == 1
    comfy.run(with_loras(workflow, (ink, 0.25)))
    assert backbone().weights == {"lora-0": 0.25} and len(loads) == 2
    os.utime(host.folder / "loras" / ink, ns=(1, 1))
    comfy.run(with_loras(workflow, (ink, 0.25)))
    assert len(loads) == 3
    comfy.run(workflow)
    assert backbone().loaded == {}


@pytest.mark.parametrize(
    "node, changes, told",
    [
        ("1", {"checkpoint": "nowhere-mini"}, "no checkpoint 'nowhere-mini'"),
        ("1", {"dtype": "int8"}, "value_not_in_list: dtype"),
        ("2", {"seed": 2**32}, "value_bigger_than_max: seed"),
        ("2", {"consistency": -0.5}, "value_smaller_than_min: consistency"),
        ("4", {"object": ["2", 0]}, "object, IMAGE != TUNEMV3D_OBJECT"),
        ("4", {"mesher": "knitting"}, "value_not_in_list: mesher"),
    ],
)
def test_what_comfyui_finds_out_before_it_begins(
    comfy: Executor, workflow: dict[str, Any], node: str, changes: dict[str, Any], told: str
) -> None:
    workflow[node]["inputs"] |= changes
    with pytest.raises(Refused, match=re.escape(told)):
        comfy.run(workflow)


@pytest.mark.slow
@pytest.mark.parametrize(
    "node, changes, told",
    [
        ("1", {"offload": "model"}, "offload 'model' keeps parts of the model off an accelerator, and 'cpu' is none"),
        ("2", {"prompt": "  "}, "a prompt is empty"),
        ("2", {"negative": "blue", "guidance": 1.0}, "a negative prompt needs guidance"),
        ("4", {"filename_prefix": "../mine"}, "filename_prefix '../mine' should be a name in"),
        ("4", {"filename_prefix": ""}, "filename_prefix '' should be a name in"),
    ],
)
def test_what_cannot_be_made_is_said(
    comfy: Executor, workflow: dict[str, Any], node: str, changes: dict[str, Any], told: str
) -> None:
    workflow[node]["inputs"] |= changes
    with pytest.raises(TuneMV3DError, match=re.escape(told)):
        comfy.run(workflow)


def test_a_lora_without_a_file_is_refused(comfy: Executor, workflow: dict[str, Any]) -> None:
    with pytest.raises(TuneMV3DError, match="the LoRA has no file"):
        comfy.run(with_loras(workflow, (" ", 1.0)))


@pytest.mark.slow
def test_a_model_without_a_field_has_views_and_no_mesh(
    comfy: Executor, workflow: dict[str, Any], tmp_path: Path
) -> None:
    workflow["1"]["inputs"]["checkpoint"] = checkpoint(tmp_path, "flat")
    mesh = workflow.pop("4")
    outputs, _ = comfy.run(workflow)
    assert torch.equal(outputs["2"][0], expected("a red blob", field=False)) and bool((outputs["2"][1] == 1).all())
    with pytest.raises(SampleError, match="flat' has no field, so there is nothing to mesh"):
        comfy.run({**workflow, "4": mesh})


@pytest.mark.slow
def test_notes_stand_in_the_log(
    comfy: Executor, workflow: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    del workflow["4"]  # takes a while
    monkeypatch.setattr(Adapting, "cut_prompts", lambda self, prompts: ["the text encoder takes 75"], raising=False)
    with caplog.at_level(logging.WARNING, "tunemv3d_comfyui"):
        comfy.run(workflow)
    assert "'a red blob': the text encoder takes 75" in caplog.messages


@pytest.mark.slow
def test_outside_of_comfyui_there_are_plain_folders(
    workflow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    for name in host.modules:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    outputs, shown = Executor(NODE_CLASS_MAPPINGS).run(workflow)
    assert (tmp_path / "output" / outputs["4"][0]).is_file()
    assert (tmp_path / "temp" / shown["3"]["images"][0]["filename"]).is_file()


@pytest.mark.slow
def test_the_packaged_model_with_a_lora_runs_as_it_is(comfy: Executor, host: Host, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from test_modulation_lora import changes, save_kohya

    from tunemv3d_core.plugins.assets import find_asset

    quick = copy.deepcopy(WORKFLOW)
    quick["2"]["inputs"] |= {"steps": 2, "views": 2, "consistency": 0.0}
    del quick["4"]
    lora = save_kohya(
        tmp_path / "it.safetensors", changes(StableDiffusionPipeline.from_pretrained(find_asset("sd-mini")))
    )
    plain, none, all_of_it = (
        comfy.run(each)[0]["2"][0]
        for each in (quick, with_loras(quick, (str(lora), 0.0)), with_loras(quick, (str(lora), 1.0)))
    )
    assert plain.shape == (2, 128, 128, 3)
    assert torch.allclose(none, plain, atol=1e-3) and not torch.allclose(all_of_it, plain, atol=0.02)


@pytest.mark.slow
def test_the_packaged_model_makes_a_mesh(comfy: Executor, host: Host, coarse: None) -> None:
    quick = copy.deepcopy(WORKFLOW)
    quick["2"]["inputs"] |= {"steps": 2, "views": 2}
    outputs, _ = comfy.run(quick)
    mesh = trimesh.load(host.folder / "output" / outputs["4"][0], force="mesh")
    # Typical of an armchair; in glTF y is up.
    assert 0.5 < np.ptp(mesh.vertices[:, 1]) < 1.5
