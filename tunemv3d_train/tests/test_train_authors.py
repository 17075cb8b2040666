"""An outside package's loss, schedule, optimizer, field, figures and pictures, trained by the front door: none of our
files knows of them.
"""

import json
import math
import shutil
from itertools import pairwise
from pathlib import Path

import authors_package
import numpy as np
import pytest
import torch
import train_stand_ins as tiny
import typer
from authors_package import AUTHORS, FAR, with_depth
from PIL import Image
from safetensors.torch import load_file
from train_ranks import train_by_two
from typer.testing import CliRunner

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.checkpoint import run_checkpoints
from tunemv3d_core.io.depth_normals import read_depth, save_depth
from tunemv3d_train.cli import train as train_command
from tunemv3d_train.continuity import dataset_fingerprint
from tunemv3d_train.maps import Maps, in_cells
from tunemv3d_train.multiview import MultiviewImages
from tunemv3d_train.trainer import opened, train


def run_by_command(*words: str) -> None:
    app = typer.Typer()
    app.command()(train_command)
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def untimed(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "steps_per_s")} for line in log(run)]


def test_an_authors_package_trains_and_resumes_bit_for_bit(spec_of_author: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    given = [str(spec_of_author), "--set", "train.preview_every=0"]
    run_by_command(*given, "--out", str(whole))
    shutil.copytree(whole, parts)
    for folder in run_checkpoints(parts)[1:]:
        shutil.rmtree(folder)
    assert [folder.name for folder in run_checkpoints(parts)] == ["step-000004"]
    run_by_command(*given, "--out", str(parts), "--resume")
    first, second = run_checkpoints(whole)[-1], run_checkpoints(parts)[-1]
    assert first.name == second.name == "step-000006"
    for file in ("model.safetensors", "state/tensors.safetensors"):
        ours, theirs = load_file(first / file), load_file(second / file)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours), file
    assert untimed(whole) == untimed(parts)
    remembered = {name.partition("/")[0] for name in load_file(second / "state/tensors.safetensors")}
    assert remembered == {"raw", "step", "exp_avg", "exp_avg_sq", "mean"}
    assert json.loads((second / "state/values.json").read_text())["count/field.v"] == 6
    recorded = json.loads((second / "provenance.json").read_text())["optimizer"]
    assert {place: entry["distribution"] for place, entry in recorded.items()} == {
        "algorithm": "tunemv3d-train",
        "schedule": "authors-ideas",
        "parts.field.algorithm": "authors-ideas",
        "parts.field.schedule": "tunemv3d-train",
        "parts.injector.algorithm": "authors-ideas",
    }


def test_figures_and_pictures_of_authors_are_in_log_and_page(spec_of_author: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(load_spec(spec_of_author), run)
    steps = [line for line in log(run) if "loss" in line]
    assert [line["field/level"] for line in steps] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])
    assert [line["far/seen"] for line in steps] == pytest.approx([FAR] * 6)
    assert [line["far/novel"] for line in steps] == pytest.approx([FAR] * 6)
    assert [line["lr"] for line in steps] == pytest.approx([0.005, 0.01, 0.01, 0.005, 0.005, 0.005])
    names = sorted(path.name for path in (run / "pictures").iterdir())
    assert names == [f"step-{step:06d}-far-map.png" for step in (3, 6)]
    with Image.open(run / "pictures" / names[-1]) as picture:
        colours = np.asarray(picture)
    assert colours.shape == (8, 8, 3) and set(np.unique(colours)) == {0, round(255 * FAR / 4)}
    page = (run / "index.html").read_text()
    assert 'src="pictures/step-000006-far-map.png"' in page and 'aria-label="field/level"' in page
    written = b"".join(path.read_bytes() for path in (run / "tensorboard").iterdir())
    assert b"far/map" in written and b"field/level" in written


def test_a_step_is_announced_once_and_its_passes_share_it(
    spec_of_author: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int]] = []
    own = authors_package.Annealed.on_step

    def on_step(field: authors_package.Annealed, step: int, steps: int) -> None:
        assert not torch.is_grad_enabled()
        told.append((step, steps))
        own(field, step, steps)

    monkeypatch.setattr(authors_package.Annealed, "on_step", on_step)
    given = ["train.accumulate=2", "train.checkpoint_every=3"]
    train(load_spec(spec_of_author, given), tmp_path / "run")
    assert told == [(step, 6) for step in range(6)]
    shutil.rmtree(run_checkpoints(tmp_path / "run")[-1])
    told.clear()
    train(load_spec(spec_of_author, given), tmp_path / "run", resume=True)
    assert told == [(step, 6) for step in range(3, 6)]


def test_a_loop_of_ones_own_is_the_run(spec_of_author: Path, tmp_path: Path) -> None:
    spec = load_spec(spec_of_author)
    whole = train(spec, tmp_path / "whole").checkpoint
    logged = [line["loss"] for line in log(tmp_path / "whole") if "loss" in line]
    with opened(spec, tmp_path / "own") as trainer:
        assert trainer.start == 0
        losses = []
        for step in range(3):
            trainer.step(step)
            losses.append(trainer.losses()["loss"])
        trainer.save(3)
    with opened(spec, tmp_path / "own", resume=True) as trainer:
        for step in range(trainer.start, 6):
            trainer.step(step)
        assert set(trainer.losses()) >= {"loss", "far", "field/level"}
        trainer.save(6)
    assert losses == pytest.approx(logged[:3], rel=1e-6)
    ours, theirs = (
        load_file(tmp_path / "own/checkpoints/step-000006/model.safetensors"),
        load_file(whole / "model.safetensors"),
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_authors_get_wrong_is_told_before_the_first_step(
    spec_of_author: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*overrides: str) -> str:
        with pytest.raises(TuneMV3DError) as caught:
            train(load_spec(spec_of_author, overrides), tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    assert "loss.terms.far: needs the map 'parts' of each view, and the dataset has depth alone" in refused(
        "loss.terms.far.of=parts"
    )
    assert "the schedule 'broken' gives nan for step 0 of 6" in refused('optimizer.schedule={"type": "broken"}')
    for report, message in (
        ({"a b": torch.zeros(())}, "report() of 'field': 'a b' is no name"),
        ({"t": torch.zeros(())}, "report() of 'field': 't' is no name"),
        ({"a": 3.0}, "report() of 'field': 'a' is float; give a tensor"),
        ({"a": torch.zeros(2)}, "report() of 'field': 'a' has the shape (2,); a figure has ()"),
        ({f"a{k}": torch.zeros(()) for k in range(17)}, "at most 16 tensors by name, got 17 of them"),
    ):
        monkeypatch.setattr(authors_package.Annealed, "report", lambda self, given=report: given)
        assert message in refused()


def test_a_dataset_without_depth_is_refused(spec_file: Path, tmp_path: Path, published: None) -> None:
    given = ["loss.terms=" + json.dumps(AUTHORS["loss"]["terms"])]  # type: ignore[index]
    with pytest.raises(
        TuneMV3DError, match=r"loss\.terms\.far: needs the map 'depth' of each view, and the dataset has"
    ):
        train(load_spec(spec_file, given), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_step_whose_gradient_is_not_finite_changes_nothing_whatever_the_optimizer(
    spec_of_author: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = authors_package.Depth.__call__

    def spoilt(loss: authors_package.Depth, *given: object) -> torch.Tensor:
        views = own(loss, *given)  # type: ignore[arg-type]
        return views * math.nan if loss.progress == 3 / 6 and views.requires_grad else views

    monkeypatch.setattr(authors_package.Depth, "__call__", spoilt)
    spec = load_spec(spec_of_author, ["train.non_finite=skip", "train.checkpoint_every=1", "train.keep=9"])
    train(spec, tmp_path / "run")
    states = [load_file(folder / "state/tensors.safetensors") for folder in run_checkpoints(tmp_path / "run")]
    same = [all(torch.equal(one[name], two[name]) for name in one) for one, two in pairwise(states)]
    assert same == [False, False, True, False, False]  # between the checkpoints of steps 3 and 4


def test_a_step_sees_only_tensors_that_change_in_place() -> None:
    from tunemv3d_train.hooks import Followers

    for field, unseen in ((authors_package.Annealed(), ""), (authors_package.Attributed(), "changes 'level'")):
        model = torch.nn.ModuleDict({"field": field})
        followers = Followers(model, {})
        followers.unseen(0, 6, seed=0)
        assert unseen in (told := followers.unseen(1, 6, seed=0)) and bool(told) == bool(unseen)
    model, losses = torch.nn.ModuleDict({"field": authors_package.Annealed()}), {"far": authors_package.Depth("depth")}
    elsewhere = Followers(model.to("meta"), losses)
    assert "on_step of 'far' changes 'progress'" in elsewhere.unseen(1, 6, seed=0)


def test_maps_are_those_of_the_plans_views_in_cells(tmp_path: Path) -> None:
    dataset = MultiviewImages(with_depth(tiny.write_dataset(tmp_path / "discs", views=4)))
    assert dataset.map_channels == {"depth": 1}
    maps = Maps(dataset, dataset.map_channels, (8, 8), torch.device("cpu"))
    plan = tiny.plan_of([1, 0], [[3, 0], [2, 1]])
    for _ in range(2):  # read, then kept
        cells = maps.gather(plan)
        assert cells.shape == (2, 2, 1, 8, 8)
        for place, index in enumerate(plan.objects):
            alpha = dataset.views(index, plan.views[place]).alpha[0]
            for view in range(2):
                for y, x in np.ndindex(8, 8):
                    hit = bool((alpha[view, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2] > 0).any())
                    assert float(cells[place, view, 0, y, x]) == pytest.approx(FAR * hit, abs=1e-3)
    values = torch.tensor([[0.0, 2.0], [4.0, 0.0]])[None, None]
    assert (
        in_cells(values, (1, 1), hit_alone=True).item() == 3 and in_cells(values, (1, 1), hit_alone=False).item() == 1.5
    )


def test_maps_that_losses_look_at_are_part_of_what_a_run_goes_on_with(tmp_path: Path) -> None:
    folder = with_depth(tiny.write_dataset(tmp_path / "discs", views=4))
    looked_at, unread = (dataset_fingerprint(MultiviewImages(folder), maps) for maps in (("depth",), ()))
    depth = next(folder.glob("objects/*/*.depth.png"))
    save_depth(depth, read_depth(depth) / 2)
    dataset = MultiviewImages(folder)
    assert dataset_fingerprint(dataset, ("depth",)) != looked_at and dataset_fingerprint(dataset) == unread


@pytest.mark.slow
def test_an_authors_package_trains_in_two_processes(offered: Path, spec_of_author: Path, tmp_path: Path) -> None:
    train_by_two(offered, tmp_path, spec_of_author, "--out", tmp_path / "run")
    steps = [line for line in log(tmp_path / "run") if "loss" in line]
    assert [line["field/level"] for line in steps] == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])
    assert [line["far/seen"] for line in steps] == pytest.approx([FAR] * 6)
    assert (tmp_path / "run/pictures/step-000006-far-map.png").exists()
