"""Samples that stay on disk: an evaluation that goes on after a kill, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from eval_toys import mean_of, rows_of, toy_checkpoint, toy_model
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer import Typer
from typer.testing import CliRunner

from tunemv3d_core import generation
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config import run_spec
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_eval.evaluate import evaluate
from tunemv3d_eval.lines import Lines
from tunemv3d_eval.samples import generate, identity, store
from tunemv3d_eval.samples.identity import labels

PROMPTS = ["a red chair", "a blue chair", "a red stool"]


class Killed(BaseException):
    """Ends a process where it is."""


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> MultiviewDiffusion:
    toy = toy_model("nearest", 24)
    spec = SimpleNamespace(sample=run_spec.SampleSpec(steps=2, guidance=1.0), data=ComponentSpec(type="none"))
    monkeypatch.setattr(
        generation.LoadedCheckpoint,
        "load",
        lambda name, place, added: SimpleNamespace(name=name, spec=spec, model=toy, data={}),
    )
    monkeypatch.setattr(identity, "spec_id", lambda spec: "abc")
    return toy


@pytest.fixture
def call(model: MultiviewDiffusion, tmp_path: Path) -> Callable[..., Any]:
    """The command on the toy; its exit code and report, or what it raises."""
    app = Typer()
    app.command()(evaluate)
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))

    def call(*arguments: str, out: str = "out", names: tuple[str, ...] = ("toy",)) -> Any:
        checkpoints = [toy_checkpoint(tmp_path / name) for name in names]
        own = ("--prompts", f"{tmp_path / 'prompts.txt'}", "--out", f"{tmp_path / out}", "--views", "4")
        result = CliRunner().invoke(app, [*checkpoints, *own, *arguments])
        if isinstance(result.exception, BaseException) and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, json.loads((tmp_path / out / "evaluate.json").read_text())

    return call


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder of samples, with their index."""
    found = [folder / "samples.jsonl", *(folder / "samples").rglob("*.*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.is_file()}


def counted(monkeypatch: pytest.MonkeyPatch, stop_at: int | None = None) -> list[tuple[float, int]]:
    """K and seed of every sample that is made from now on; the work is killed in the one after ``stop_at``."""
    made: list[tuple[float, int]] = []
    original = generate.make

    def make(model: Any, settings: Any, k: Any, batch: Any) -> Any:
        if len(made) == stop_at:
            raise Killed
        made.extend((k, job.seed) for job in batch)
        return original(model, settings, k, batch)

    monkeypatch.setattr(generate, "make", make)
    return made


def test_a_killed_evaluation_goes_on_where_it_was(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = call("--seeds", "2", out="whole")
    with monkeypatch.context() as patch:
        first = counted(patch, stop_at=7)
        with pytest.raises(Killed):
            call("--seeds", "2")
    assert len(first) == 7 and not (tmp_path / "out/evaluate.json").exists()
    with (tmp_path / "out/samples.jsonl").open("a") as index:
        index.write('{"file": "samp')  # what a kill leaves of a line
    second = counted(monkeypatch)
    code, report = call("--seeds", "2")
    assert code == 0 and report["sampled"] == len(second) == 5
    assert sorted(first + second) == sorted((k, seed) for k in (0, 1) for seed in range(6))
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert report["rows"] == whole["rows"] and report["means"] == whole["means"]


def test_scoring_goes_on_too(call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunemv3d_eval.metrics.hull_recall import HullRecall

    asked: list[str] = []
    original = HullRecall.measure

    def measure(self: Any, sample: Any, model: Any) -> Any:
        if len(asked) == 4:
            raise Killed
        asked.append(sample.prompt)
        return original(self, sample, model)

    with monkeypatch.context() as patch:
        patch.setattr(HullRecall, "measure", measure)
        with pytest.raises(Killed):
            call("--metric", "hull-recall")
    later: list[str] = []
    monkeypatch.setattr(HullRecall, "measure", lambda *given: later.append(given[1].prompt) or original(*given))
    code, report = call("--metric", "hull-recall")
    assert code == 0 and report["sampled"] == 0 and len(later) == 2
    assert sorted(asked + later) == sorted(2 * PROMPTS)
    assert call("--metric", "hull-recall")[1]["rows"] == report["rows"] and len(later) == 2


def test_a_file_that_a_kill_left_out_of_the_index_is_kept(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call()
    index = tmp_path / "out/samples.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[:-1]))
    made = counted(monkeypatch)
    call()
    assert not made and index.read_text() == "".join(lines)


def test_a_sample_says_what_it_is(call: Callable[..., Any], tmp_path: Path) -> None:
    call("--steps", "3", "--seeds", "2")
    path = tmp_path / "out/samples/toy/K1/001-004.safetensors"
    with safe_open(path, "pt") as opened:
        about = json.loads(opened.metadata()["sample"])
        latents, images = opened.get_tensor("latents"), opened.get_tensor("images")
    told = {"prompt": "a blue chair", "seed": 4, "consistency": 1.0, "steps": 3, "views": 4, "elevation": 20.0}
    assert told.items() <= about.items()
    assert about["checkpoint"]["weights_sha256"] == "00" and about["checkpoint"]["spec_id"] == "abc"
    # The toy's latents are its pictures.
    assert images.dtype == torch.uint8 and images.shape == (4, 3, 24, 24)
    expected = ((latents + 1) * 127.5).round().clamp(0, 255)
    torch.testing.assert_close(images.float(), expected)


def test_score_only_measures_what_is_there_and_tells_what_it_refuses(
    call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = call()
    samples = tmp_path / "out/samples/toy/K1"
    tensors = load_file(samples / "000-000.safetensors")
    save_file({**tensors, "latents": tensors["latents"] + 0.5}, samples / "000-000.safetensors")
    (samples / "001-001.safetensors").unlink()
    made = counted(monkeypatch)
    with pytest.warns(UserWarning, match="samples: 'a red chair', seed 0, K = 1: .*000-000.safetensors was made"):
        code, report = call("--score-only")
    assert code == 1 and not made
    changed, missing, other = rows_of(report, 1)
    assert changed["hull_recall"] is None and "000-000.safetensors" in changed["error"]
    assert missing["hull_recall"] is None and "is not there" in missing["error"]
    assert other == rows_of(whole, 1)[2] and rows_of(report, 0) == rows_of(whole, 0)
    assert [each["where"] for each in report["failed"]["samples"]] == [
        "'a red chair', seed 0, K = 1",
        "'a blue chair', seed 1, K = 1",
    ]
    (mean,) = [m for m in report["means"] if (m["figure"], m["consistency"]) == ("hull_recall", 1)]
    assert (mean["n"], mean["failed"], mean["mean"]) == (1, 0, other["hull_recall"])


def test_scoring_without_samples_is_refused(call: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(TuneMV3DError, match=r"--score-only: .*out holds no samples"):
        call("--score-only")
    assert not (tmp_path / "out").exists()


def test_a_damaged_sample_is_refused_and_made_again(call: Callable[..., Any], tmp_path: Path) -> None:
    call()
    before = files(tmp_path / "out")
    path = tmp_path / "out/samples/toy/K1/000-000.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.warns(UserWarning, match="is damaged: its hash"):
        code, report = call("--score-only")
    assert code == 1 and "is damaged" in rows_of(report, 1)[0]["error"]
    code, report = call()
    assert code == 0 and report["sampled"] == 1
    assert {n: b for n, b in files(tmp_path / "out").items() if n != "samples.jsonl"} == {
        n: b for n, b in before.items() if n != "samples.jsonl"
    }


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda patch, folder: patch.setattr(identity, "spec_id", lambda spec: "other"), "checkpoint's spec_id"),
        (
            lambda patch, folder: patch.setattr(store, "__version__", "9.9"),
            'was made by version "0.1.0"; this is "9.9"',
        ),
        (lambda patch, folder: folder.write_text("a red chair\na blue chair\na green stool"), "another prompt"),
    ],
)
def test_samples_of_something_else_are_not_taken_and_not_lost(
    change: Callable[..., Any],
    told: str,
    call: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    call()
    before = files(tmp_path / "out")
    change(monkeypatch, tmp_path / "prompts.txt")
    with pytest.raises(SampleError, match=f"{told}.*--score-only"):
        call()
    assert files(tmp_path / "out") == before
    with pytest.warns(UserWarning, match=told):
        code, report = call("--score-only")
    assert code == 1 and all(told in each["error"] for each in report["failed"]["samples"])


def test_a_sample_that_is_not_finite_counts_as_the_worst_value(
    model: MultiviewDiffusion, call: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = generate.sample

    def sample(model: Any, text: Any, cameras: Cameras, seeds: Any, options: Any, **more: Any) -> Tensor:
        latents = original(model, text, cameras, seeds, options, **more)
        return latents * float("nan") if seeds == [1] and options.consistency == 1 else latents

    monkeypatch.setattr(generate, "sample", sample)
    with pytest.warns(UserWarning, match="sampling: 'a blue chair', seed 1, K = 1: .*not finite"):
        code, report = call("--metric", "hull-recall", "--metric", "leave-one-out")
    assert code == 1
    good, bad, _ = rows_of(report, 1)
    assert (bad["hull_recall"], bad["leave_one_out"]) == (0, 0) and "not finite" in bad["error"]
    assert good["hull_recall"] > 0 and good["error"] is None
    values = [row["hull_recall"] for row in rows_of(report, 1)]
    assert mean_of(report, "hull_recall", 1) == pytest.approx(sum(values) / 3)
    assert call("--metric", "hull-recall", "--metric", "leave-one-out")[1]["rows"] == report["rows"]
    assert (tmp_path / "out/pictures/toy/001.png").is_file()


def test_several_checkpoints_are_compared_on_equal_noise(call: Callable[..., Any], tmp_path: Path) -> None:
    code, report = call("--metric", "hull-recall", names=("one", "two"))
    assert code == 0 and [each["label"] for each in report["checkpoints"]] == ["one", "two"]
    between = [pair for pair in report["paired"] if pair["a"] != pair["b"]]
    assert {(pair["consistency_a"], pair["consistency_b"]) for pair in between} == {(0, 0), (1, 1)}
    # It is one model under two names.
    assert all(pair["difference"] == 0 for pair in between)
    assert (tmp_path / "out/samples/two/K0/000-000.safetensors").is_file()


def test_labels_tell_checkpoints_apart() -> None:
    assert labels(["chairs-mini", "runs/a/"]) == ["chairs-mini", "a"]
    assert labels(["runs/a/checkpoints/step-000500", "runs/b/checkpoints/step-000500"]) == [
        "a-checkpoints-step-000500",
        "b-checkpoints-step-000500",
    ]
    with pytest.raises(TuneMV3DError, match="is given twice"):
        labels(["chairs-mini", "chairs-mini"])


@pytest.mark.parametrize("cut", [b'{"key": "b", "pro', b'{"key": "b"}', '{"key": "ü'.encode()[:-1]])
def test_a_line_that_a_kill_has_cut_is_written_again(cut: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    first = {"key": "a", "prompt": "a chair\u2028of two lines"}
    Lines(path, "key").add("a", first)
    whole = path.read_bytes()
    path.write_bytes(whole + cut)
    lines = Lines(path, "key")
    assert lines["a"] == first and "b" not in lines and path.read_bytes() == whole
    lines.add("b", {"key": "b"})
    assert Lines(path, "key")["b"] == {"key": "b"} and path.read_bytes().startswith(whole)
    path.write_bytes(whole[:4] + bytes(len(whole) - 5) + b"\n" + b'{"key": "c"}\n')  # as a power cut leaves it
    lines = Lines(path, "key")
    assert "a" not in lines and "c" in lines
    assert path.read_bytes() == b'{"key": "c"}\n'


def test_a_line_in_the_middle_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"key": "a"}\n{"ke\n{"key": "b"}\n')
    with pytest.raises(TuneMV3DError, match=r"lines\.jsonl: line 2 is damaged"):
        Lines(path, "key")
