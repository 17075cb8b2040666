"""Datasets that somebody spoilt: commands say what is wrong, write nowhere else, and go on with the other objects."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.posed_images import read_manifest, read_object
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_data.commands import app
from tunemv3d_data.meshes.mesh import load_mesh
from tunemv3d_data.sources.reading import read_sources

NAN = float("nan")


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _turn(content: dict[str, Any]) -> None:
    """Give the first frame the second one's camera, which the doctor draws."""
    content["frames"][0]["transform_matrix"] = content["frames"][1]["transform_matrix"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two of the packaged chairs."""
    chairs = find_asset("chairs")
    ids = list(read_manifest(chairs))[:2]
    for id_ in ids:
        shutil.copytree(chairs / "objects" / id_, tmp_path / "in" / "objects" / id_)
    shutil.copy(chairs / "dataset.json", tmp_path / "in")
    edit(tmp_path / "in" / "dataset.json", lambda c: c.update(objects=[{"id": i, "split": "train"} for i in ids]))
    return tmp_path / "in"


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and message; anything but a message for people is raised."""
    outcome = CliRunner().invoke(app, [*map(str, arguments)])
    if isinstance(outcome.exception, TuneMV3DError):
        return 2, str(outcome.exception)
    if outcome.exception is not None and not isinstance(outcome.exception, SystemExit):
        raise outcome.exception
    return outcome.exit_code, outcome.output


@pytest.mark.parametrize("id_", ["../../../escape", "/etc", ".", "..", "a\\b", "x" * 300, "a\0b", "a\nb"])
def test_ids_that_are_no_folder_are_refused(dataset: Path, id_: str) -> None:
    edit(dataset / "dataset.json", lambda c: c["objects"].append({"id": id_}))
    before = set(dataset.parent.rglob("*"))
    for command in ("check", "show", "pack"):
        code, said = run(command, dataset, "--out", dataset.parent / "out" / command)
        assert code == 2 and "no folder's name" in said and "objects[2]" in said
    assert set(dataset.parent.rglob("*")) == before


SPOILT: dict[str, Callable[[dict[str, Any]], object]] = {
    "infinite width": lambda c: c.update(w=float("inf")),
    "a focal length of too many digits": lambda c: c.update(fl_x=10**400),
    "a file outside": lambda c: c["frames"][2].update(file_path="../../../secret.webp"),
    "an absolute file": lambda c: c["frames"][2].update(mask_file_path="/etc/passwd"),
    "a number for a file": lambda c: c["frames"][2].update(depth_file_path=5),
    "half a character": lambda c: c.update(captions=["a\udcff"]),
    "no focal length": lambda c: c.update(fl_x=0),
    "NaN for a focal length": lambda c: c.update(fl_x=NAN),
    "no rotation": lambda c: c["frames"][2].update(transform_matrix=[[0] * 4] * 4),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_record_is_a_finding_and_never_packed(dataset: Path, fault: str) -> None:
    id_ = next(iter(read_manifest(dataset)))
    edit(dataset / "objects" / id_ / "transforms.json", SPOILT[fault])
    code, said = run("check", dataset, "--out", dataset.parent / "c", "--workers", 1, "--json")
    assert code == 1
    found = json.loads(said[said.index("{") :])["found"]
    assert any(finding["object"] == id_ and finding["level"] == "error" for finding in found)
    assert run("show", dataset, "--out", dataset.parent / "s")[0] in (0, 1)
    code, said = run("pack", dataset, "--out", dataset.parent / "p")
    assert code == 2 and id_ in said


def test_an_object_that_goes_by_anothers_id_is_not_packed_in_its_place(dataset: Path) -> None:
    first, second = read_manifest(dataset)
    edit(dataset / "objects" / second / "transforms.json", lambda c: c.update(id=first))
    code, said = run("pack", dataset, "--out", dataset.parent / "p")
    assert code == 2 and first in said and second in said and not (dataset.parent / "p" / "shards.json").exists()


def test_deeply_nested_json_is_one_message(dataset: Path) -> None:
    (dataset / "dataset.json").write_text("[" * 100_000)
    with pytest.raises(DatasetError, match="nested too deeply"):
        read_manifest(dataset)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(captions=[1, None]),
        lambda c: c.update(w=float("inf")),
        lambda c: c["frames"][1].update(fl_x=1e30),
        lambda c: c["frames"][1].update(transform_matrix=[[10**400] * 4] * 4),
    ],
)
def test_a_spoilt_capture_is_refused_and_the_others_are_converted(
    dataset: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    id_ = next(iter(read_manifest(dataset)))
    edit(dataset / "objects" / id_ / "transforms.json", change)
    out = dataset.parent / "out"
    code, said = run("convert", dataset / "objects", "--out", out, "--resolution", 32)
    assert code == 1 and f"refused {id_}" in said and "1 converted" in said and len(read_manifest(out)) == 1


@pytest.mark.parametrize("command", ["check", "show", "pack", "convert"])
def test_a_folder_that_cannot_be_written_is_one_message(dataset: Path, command: str) -> None:
    id_ = next(iter(read_manifest(dataset)))
    edit(dataset / "objects" / id_ / "transforms.json", _turn)
    (dataset.parent / "file").write_text("x")
    workers = ["--workers", "1"] if command == "check" else []
    code, said = run(command, dataset, "--out", dataset.parent / "file" / "out", *workers)
    assert code == 2 and "cannot be written" in said


@pytest.mark.parametrize("way", ["up", "absolute", "link", "pipe", "endless"])
def test_a_capture_reads_nothing_outside_itself(dataset: Path, way: str) -> None:
    """By a name or by a link; what is no plain file is not waited for."""
    id_ = next(iter(read_manifest(dataset)))
    folder = dataset / "objects" / id_
    secret = dataset.parent / "secret.webp"
    first = json.loads((folder / "transforms.json").read_text())["frames"][0]["file_path"]
    (folder / first).rename(secret)
    if way in ("up", "absolute"):
        name = "../../../secret.webp" if way == "up" else str(secret)
        edit(folder / "transforms.json", lambda c: c["frames"][0].update(file_path=name))
    elif way == "pipe":
        os.mkfifo(folder / first)
    else:
        (folder / first).symlink_to(secret if way == "link" else "/dev/zero")
    if way != "pipe":  # which the reader of its pictures refuses
        with pytest.raises(DatasetError, match=r"no file in the object's folder|leads out of the folder"):
            read_object(folder)
    out = dataset.parent / "out"
    for source in (dataset, folder):
        code, said = run("convert", source, "--layout", "nerfstudio", "--out", out / source.name, "--resolution", 32)
        assert f"refused {id_}" in said and code in (1, 2)


def test_a_million_nodes_of_a_gltf_are_refused_at_once(tmp_path: Path) -> None:
    nodes = json.dumps({"asset": {"version": "2.0"}, "nodes": [{}] * 1_000_000}).encode()
    (tmp_path / "a.gltf").write_bytes(nodes)
    began = time.perf_counter()
    with pytest.raises(DatasetError, match="nodes, over the limit"):
        load_mesh(read_sources(tmp_path)[0])
    assert time.perf_counter() - began < 10
