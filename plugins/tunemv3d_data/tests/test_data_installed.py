"""Commands on datasets of any installed reader: what they see, show and pack is what the reader gives."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kit_datasets
import numpy as np
import pytest
import torch
from fake_distributions import FakeSite
from typer.testing import CliRunner

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.blocks import named_dataset, options_of
from tunemv3d_core.errors import ComponentError, DatasetError, SpecError
from tunemv3d_core.io.posed_images import PosedImages, read_manifest
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import Dataset
from tunemv3d_core.types import Views
from tunemv3d_data.commands import app
from tunemv3d_data.conversion.installed import straight, write_dataset


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSite]:
    """A distribution with the dataset "good", whose option ``part`` names a class of ``kit_datasets``; an empty folder
    to work in."""
    folder, here = tmp_path / "site", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.chdir(here)
    registry().clear()
    fake = FakeSite(folder)
    fake.distribution("kit_parts", {"tunemv3d.dataset": {"good": "kit_plugins:GOOD_DATASET"}})
    yield fake
    fake.forget()
    registry().clear()


def call(*arguments: str) -> tuple[int, str]:
    """Exit code and standard output of ``tunemv3d data ...``; errors for people are raised."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def opened(block: dict[str, Any]) -> Dataset:
    dataset: Dataset = build_component("dataset", options_of("dataset", "test", block))
    return dataset


@pytest.mark.parametrize("name", ["good", '{"type": "good", "part": "Streamed"}'])
def test_what_is_packed_is_what_the_reader_gives(site: FakeSite, tmp_path: Path, name: str) -> None:
    code, said = call("pack", name, "--out", str(tmp_path / "packed"), "--json")
    assert code == 0 and json.loads(said)["objects"] == 3
    packed, balls = opened({"type": "shards", "path": str(tmp_path / "packed")}), kit_datasets.Balls()
    assert packed.splits() == balls.splits() and (tmp_path / "packed/ATTRIBUTION.md").is_file()
    for index in range(3):
        mine, theirs = packed.record(index), balls.record(index)
        assert (mine.id, mine.captions, mine.size, mine.licence) == (
            theirs.id,
            theirs.captions,
            theirs.size,
            theirs.licence,
        )
        torch.testing.assert_close(mine.cameras.camera_to_world, theirs.cameras.camera_to_world)
        views = packed.views(index, [3, 1]), balls.views(index, [3, 1])
        assert torch.equal(views[0].alpha, views[1].alpha)
        torch.testing.assert_close(views[0].images, views[1].images, rtol=0, atol=1.01 / 255)  # bytes


def test_bytes_come_back_from_a_white_ground() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 4), dtype=np.uint8)
    rgba[rgba[..., 3] == 0] = 0
    alpha = rgba[..., 3].astype(np.float32) / 255
    on_white = rgba[..., :3] / 255 * alpha[..., None] + (1 - alpha[..., None])
    images = torch.from_numpy((2 * on_white - 1).astype(np.float32)).permute(0, 3, 1, 2)
    assert np.array_equal(straight(images, torch.from_numpy(alpha)), rgba)


def test_show_and_check_take_a_reader_and_name_it(site: FakeSite) -> None:
    shown = CliRunner().invoke(app, ["show", "good"])
    assert shown.exit_code == 0 and '--set \'data={"type": "good"}\' --out runs/good' in shown.stderr
    assert "a green ball" in Path("good-pages/index.html").read_text("utf-8")
    assert len(list(Path("good-pages/objects/green").glob("*.webp"))) == kit_datasets.VIEWS
    assert "good: 3 objects" in call("check", "good", "--workers", "1")[1]
    report = json.loads(call("check", "good", "--workers", "1", "--json")[1])
    assert (report["dataset"], report["objects"]) == ("good", 3)
    assert not [found for found in report["found"] if found["level"] == "error"]


class LosesOne(kit_datasets.Balls):
    """The second object's pictures are gone from the third view on."""

    def views(self, index: int, cameras: list[int]) -> Views:
        if index == 1 and 2 in cameras:
            raise FileExistsError("gone")
        if index == 2 and 2 in cameras:
            raise DatasetError("object 'blue': its third picture is damaged; restore it")
        return super().views(index, cameras)


def test_an_object_that_cannot_be_read_is_a_finding_and_the_others_are_looked_at(
    site: FakeSite, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kit_datasets, "LosesOne", LosesOne, raising=False)
    name = '{"type": "good", "part": "LosesOne"}'
    code, said = call("check", name, "--workers", "1", "--json")
    told = {found["object"]: found["text"] for found in json.loads(said)["found"] if found["check"] == "unreadable"}
    assert code == 1 and told == {
        "green": "views(1, [0, 1, 2, 3, 4, 5]) raised FileExistsError: gone; mend the dataset's reader",
        "blue": "object 'blue': its third picture is damaged; restore it",
    }
    code, said = call("pack", name, "--out", str(tmp_path / "packed"), "--json")
    report = json.loads(said)
    assert (code, report["objects"], [each["id"] for each in report["left_out"]]) == (1, 1, ["green", "blue"])
    assert call("show", name)[0] == 1


@pytest.mark.parametrize("command", ["check", "show", "pack"])
def test_a_reader_that_breaks_its_contract_is_refused_in_one_sentence(
    site: FakeSite, tmp_path: Path, command: str
) -> None:
    more = ["--out", str(tmp_path / "out")] if command == "pack" else []
    with pytest.raises(DatasetError, match=r"the dataset 'good': object 'red': the values of images go from 10 to 255"):
        call(command, '{"type": "good", "part": "Bytes"}', *more)
    assert not (tmp_path / "out").exists()


def test_a_folder_comes_before_a_reader_of_its_name(site: FakeSite) -> None:
    assert named_dataset("DATASET", "good") == {"type": "good"}
    assert named_dataset("DATASET", "chairs") is None
    Path("good").mkdir()
    assert named_dataset("DATASET", "good") is None
    with pytest.raises(DatasetError, match="good: none of the known layouts"):
        call("show", "good")


def test_names_of_nothing_are_refused_with_what_there_is(site: FakeSite) -> None:
    with pytest.raises(ComponentError, match=r"is no path either, nor an installed reader of datasets: .*good"):
        call("check", "nowhere")
    with pytest.raises(ComponentError, match=r"no component named 'god'|'god'"):
        call("show", '{"type": "god"}')
    with pytest.raises(SpecError, match="not JSON"):
        call("pack", '{"type": "good"', "--out", "packed")
    with pytest.raises(SpecError, match=r"parts: unknown\. Did you mean 'part'\?"):
        call("check", '{"type": "good", "parts": "Balls"}')


class OfNoFolder(kit_datasets.Balls):
    """An id that leads out of a folder, and a record that no JSON can hold."""

    def record(self, index: int) -> PosedImages:
        record = super().record(index)
        return (record, replace(record, id="red/../blue"), replace(record, extra={"at": object()}))[index]


def test_what_no_file_can_hold_is_told(tmp_path: Path) -> None:
    faults = write_dataset(OfNoFolder(), tmp_path / "out")
    assert list(faults) == ["red/../blue", "blue"] and "holds '/'" in faults["red/../blue"]
    assert "its record's extra is no JSON" in faults["blue"]
    assert list(read_manifest(tmp_path / "out")) == ["red"] and {p.name for p in tmp_path.iterdir()} == {"out"}
