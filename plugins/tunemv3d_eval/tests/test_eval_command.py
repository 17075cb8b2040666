"""The evaluation of a toy model whose views are one chair at K = 1 and eight unrelated ones at K = 0."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from eval_toys import boxes_seen, chair, mean_of, painted, rows_of, toy_checkpoint, toy_model
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from tunemv3d_core import generation
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config import run_spec as spec
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.io.prompts import read_prompts
from tunemv3d_core.io.xmp import read_packet
from tunemv3d_core.types import Views
from tunemv3d_eval.evaluate import evaluate, parse_strengths
from tunemv3d_eval.protocols.protocol import PROMPTS
from tunemv3d_eval.samples import identity
from tunemv3d_eval.samples.jobs import in_batches, jobs
from tunemv3d_eval.scoring import real
from tunemv3d_eval.scoring.real import held_out_objects

APP = Typer()
APP.command()(evaluate)


class ChairDataset:
    """One chair in each split, seen by eight cameras."""

    def __init__(self, *options: Any) -> None:
        pass

    def __len__(self) -> int:
        return 2

    def splits(self) -> dict[str, list[int]]:
        return {"train": [0], "held_out": [1]}

    def record(self, index: int) -> PosedImages:
        return PosedImages(f"chair{index}", Cameras.orbit(8), (48, 48), ("a red chair",))

    def views(self, index: int, cameras: list[int]) -> Views:
        chosen = Cameras.orbit(8)[cameras]
        seen = boxes_seen(chair(), chosen, 48)
        return Views(painted(seen)[None], seen.float()[None], chosen[None], ["a red chair"], [f"chair{index}"])


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> MultiviewDiffusion:
    model = toy_model()
    own = SimpleNamespace(
        sample=spec.SampleSpec(steps=2, guidance=2.0, consistency=1.0), data=ComponentSpec(type="chairs")
    )
    monkeypatch.setattr(
        generation.LoadedCheckpoint,
        "load",
        lambda name, place, added: SimpleNamespace(name=name, spec=own, model=model, data={"licences": {"CC0-1.0": 3}}),
    )
    monkeypatch.setattr(identity, "spec_id", lambda spec: "abc")
    monkeypatch.setattr(real, "open_dataset", lambda spec, other: ChairDataset())
    return model


@pytest.fixture
def run(toy: MultiviewDiffusion, tmp_path: Path) -> Callable[..., Any]:
    """The command on the toy, for two prompts unless others are given."""
    (tmp_path / "prompts.txt").write_text("# two\na red chair\n\na blue chair\n")

    def call(*arguments: str, out: str = "out") -> Any:
        prompts = () if "--prompts" in arguments else ("--prompts", f"{tmp_path / 'prompts.txt'}")
        name = toy_checkpoint(tmp_path / "toy")
        return CliRunner().invoke(APP, [name, *prompts, "--out", f"{tmp_path / out}", *arguments])

    return call


def test_evaluate_tells_one_chair_from_eight(run: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("--real", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((out / "evaluate.json").read_text())
    assert report["checkpoints"][0]["consistency"] == [0, 1]
    tuned, frozen = ({name: mean_of(report, name, k) for name in report["figures"]} for k in (1, 0))
    assert tuned["hull_recall"] > 0.98 > 0.9 > frozen["hull_recall"]
    assert tuned["pose_agreement"] == 1 > frozen["pose_agreement"]
    assert tuned["opacity_iou"] > 0.99 > frozen["opacity_iou"]
    assert tuned["leave_one_out"] > 60 > frozen["leave_one_out"]
    assert tuned["colour_met"] == 0.5
    ceiling = {name: mean_of(report, name, None, "real") for name in report["figures"]}
    assert (ceiling["pose_agreement"], ceiling["colour_met"]) == (1, 1)
    assert [row["id"] for row in rows_of(report, None, "real")] == ["chair1"]
    assert {path.name for path in (out / "pictures/toy").iterdir()} == {"000.png", "001.png", "real-chair1.png"}
    with Image.open(out / "pictures/toy/real-chair1.png") as real_one:
        assert "xmp" not in real_one.info  # no model made it


def test_pictures_show_views_renders_and_opacity_of_every_k(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("--consistency", "0,1")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out/pictures/toy/000.png") as picture:
        assert picture.size == (84 + 8 * 48, 28 + 6 * 48)
        # The tuned views (fourth row) and the field's renders of them (fifth) are the same picture.
        tuned, render = (picture.crop((84, 28 + row * 48, 84 + 8 * 48, 28 + (row + 1) * 48)) for row in (3, 4))
        assert tuned.tobytes() == render.tobytes()
        assert tuned.getextrema()[1][0] in (25, 26)  # red's green channel, 0.1 of 255
        told = read_packet(picture.info["xmp"])
    assert told["Iptc4xmpExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert (told["tunemv3d:Checkpoint"], told["tunemv3d:SpecId"]) == ("toy", "abc")
    assert (told["Iptc4xmpExt:AIPromptInformation"], told["tunemv3d:TrainingLicences"]) == ("a red chair", ["CC0-1.0"])


def test_the_model_without_a_field_is_measured_by_its_pictures(
    toy: MultiviewDiffusion, run: Callable[..., Any]
) -> None:
    toy.field = toy.view_encoder = toy.lifter = toy.injector = None
    result = run("--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {row["consistency"] for row in report["rows"]} == {0}
    assert mean_of(report, "leave_one_out", 0) is None
    assert report["skipped"]["leave-one-out"] == "the model has no field"
    assert 0 < (mean_of(report, "hull_recall", 0) or 0) < 0.9


def test_the_nearest_training_object_stands_in_the_rows_by_its_name(run: Callable[..., Any], tmp_path: Path) -> None:
    arguments = ("--metric", "nearest-training-object", "--metric", "kid", "--consistency", "0,1", "--json")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {row["nearest_training_object"] for row in report["rows"]} == {"chair0"}
    # At K = 1 the views are the dataset's chair itself, at K = 0 pictures from other cameras.
    tuned, frozen = (mean_of(report, "nearest_training", k) or 0 for k in (1, 0))
    assert tuned > 0.99 > frozen
    assert (mean_of(report, "kid", 1) or 0) < (mean_of(report, "kid", 0) or 0)
    again = json.loads(run(*arguments, "--score-only").stdout)
    assert again["rows"] == report["rows"]


def test_a_folder_with_an_evaluation_without_its_samples_is_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/evaluate.json").write_text("{}")
    result = run()
    assert isinstance(result.exception, TuneMV3DError)
    assert "holds an evaluation already" in str(result.exception)
    assert (tmp_path / "out/evaluate.json").read_text() == "{}"


def test_options_out_of_range_are_refused_before_anything_is_sampled(run: Callable[..., Any], tmp_path: Path) -> None:
    result = run("--guidance", "-1")
    assert isinstance(result.exception, TuneMV3DError)
    assert "guidance: should be greater than or equal to 0, got -1.0" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "values"), [("", ()), ("0,1, 1.5", (0, 1, 1.5)), ("2 0 2", (2, 0))])
def test_strengths(text: str, values: tuple[float, ...]) -> None:
    assert parse_strengths(text) == values


@pytest.mark.parametrize("text", ["one", "0,-1", "nan", "inf"])
def test_bad_strengths_are_refused(text: str) -> None:
    with pytest.raises(TuneMV3DError, match=r"^consistency"):
        parse_strengths(text)


def test_prompts_that_cannot_be_read_are_refused(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.txt", "empty.txt", "binary.txt"):
        result = run("--prompts", f"{tmp_path / name}")
        assert isinstance(result.exception, TuneMV3DError) and name in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_prompts_may_begin_with_a_mark_of_their_encoding(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "marked.txt").write_text("a red chair\n", encoding="utf-8-sig")
    result = run("--prompts", f"{tmp_path / 'marked.txt'}", "--metric", "colour", "--json")
    assert result.exit_code == 0, result.output
    assert {row["prompt"] for row in json.loads(result.stdout)["rows"]} == {"a red chair"}


def test_the_packaged_prompts_are_twenty_different_ones() -> None:
    prompts = read_prompts(PROMPTS / "chairs-20.txt")
    assert len(prompts) == len(set(prompts)) == 20


def test_no_two_jobs_share_their_noise() -> None:
    made = jobs(["a", "b", "c"], 3)
    assert len({job.seed for job in made}) == 9
    assert [job.prompt for job in made] == 3 * ["a", "b", "c"]


def test_batches_shrink_until_they_fit_and_lose_nothing() -> None:
    tried: list[int] = []

    def work(batch: Sequence[int]) -> int:
        tried.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        return sum(batch)

    results = list(in_batches(list(range(10)), 8, work))
    assert [item for batch, _ in results for item in batch] == list(range(10))
    assert sum(result for _, result in results) == 45
    assert tried == [8, 4, 2, 2, 2, 2, 2]


def test_an_object_that_does_not_fit_alone_is_an_error() -> None:
    def work(batch: Sequence[int]) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches([1, 2], 2, work))


def test_real_views_need_held_out_objects_with_enough_cameras() -> None:
    dataset = ChairDataset()
    with pytest.raises(DatasetError, match="'chair1' has 8 cameras, fewer than 9"):
        held_out_objects(dataset, 9)
    dataset.splits = lambda: {"train": [0, 1]}  # type: ignore[method-assign]
    with pytest.raises(DatasetError, match="held_out"):
        held_out_objects(dataset, 8)
