"""Studies with stand-ins of training and evaluation, whose figures are known."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child_processes import running
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from tunemv3d_core.config.run_spec import canonical_json
from tunemv3d_core.errors import SpecError, TuneMV3DError
from tunemv3d_core.io.xmp import read_packet
from tunemv3d_eval.study import jobs
from tunemv3d_eval.study.engine import RayCluster, ThisMachine, visible_cards
from tunemv3d_eval.study.plan import Study, checkpoints_of, read_study, resolved_specs, study_of, training_overrides
from tunemv3d_eval.study.study import run_study
from tunemv3d_eval.study.work import alone_in
from tunemv3d_eval.study_command import study as command

STAND_INS = str(Path(__file__).with_name("study_stand_ins.py"))
APP = Typer()
APP.command()(command)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "TRAIN", (STAND_INS, "train"))
    monkeypatch.setattr(jobs, "EVALUATE", (STAND_INS, "evaluate"))


def small_study(**changes: Any) -> Study:
    content = {
        "name": "small",
        "steps": 40,
        "variants": {
            "baseline": {"spec": "chairs-mini", "summary": "(c)"},
            "no-noise": {"spec": "ablation-no-raw-noise-mini", "summary": "(b)"},
            "plain": {"spec": "baseline-2d-mini"},
        },
        "evaluations": {"curves": {"seeds": [0, 1], "at": [10, 40], "protocol": "consistency", "consistency": "1,2"}},
    }
    return Study.model_validate(content | changes)


def run(study: Study, out: Path, minutes: float | None = None, jobs: int = 3) -> dict[str, Any]:
    lines: list[str] = []
    content = run_study(study, out, ThisMachine(jobs, []), minutes, lines.append)
    content["told"] = lines
    return content


@pytest.mark.slow
def test_differences_from_the_first_variant_are_those_that_were_made(tmp_path: Path) -> None:
    content = run(small_study(), tmp_path / "out")
    assert content["missing"] == {}
    assert content["devices"] == ["cpu (toy)"] and content["versions"] == [{"torch": "9.9"}]
    found = content["evaluations"]["curves"]
    assert {row["figure"] for row in found["means"]} == {"quality", "of_a_set"}
    of_objects = [row for row in found["means"] if row["figure"] == "quality"]
    means = {(row["variant"], row["step"], row["consistency"]): row for row in of_objects}
    # The mean deviation of eight prompts is 0.035. Both training seeds' objects count.
    assert means["baseline", 10, "1"]["mean"] == pytest.approx(0.5 + 0.01 + 0.035)
    assert means["no-noise", 40, "2"]["mean"] == pytest.approx(0.2 + 0.04 + 0.035)
    assert means["baseline", 10, "1"]["n"] == 16
    assert means["baseline", 10, "1"]["seeds"] == {"0": pytest.approx(0.545), "1": pytest.approx(0.545)}
    others = [row for row in found["paired"] if row["variant_a"] != row["variant_b"]]
    pairs = {(row["variant_b"], row["step_b"], row["consistency_b"]): row for row in others}
    assert len(others) == len(pairs) == 2 * 2 * 2
    assert pairs["no-noise", 40, "1"]["difference"] == pytest.approx(-0.3)
    assert pairs["no-noise", 40, "1"]["p"] < 0.05
    # A model without a field has no K: it stands beside the first variant at every one.
    assert pairs["plain", 40, "1"]["difference"] == pairs["plain", 40, "2"]["difference"] == pytest.approx(-0.4)
    assert json.loads((tmp_path / "out/study.json").read_text())["evaluations"] == content["evaluations"]


@pytest.mark.slow
def test_the_report_shows_tables_curves_and_the_first_samples(tmp_path: Path) -> None:
    out = tmp_path / "out"
    content = run(small_study(), out)
    words, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    assert "| baseline | 10 | 1 | 16 | 0.545 [" in words
    assert "| no-noise | 40 | 1 | -0.3* [-0.3, -0.3] (-0.3, -0.3) |" in words
    assert "(c)" in page and page.count("<polyline") == 2 * 2 * 3
    assert "curves-plain-seed1: 'pose' was left out: needs a field" in words
    assert "curves-baseline-seed0: 'seldom' failed 2 times, first at chair 1: no colour" in words
    assert "Without a field there is no K: plain stands" in words
    assert len(content["pictures"]) == 3
    assert "seldom says nothing here: nothing has it." in words and "| baseline | 10 | noise | 0 [0, 0.1] |" in words
    with Image.open(out / content["pictures"][1]["path"]) as sheet:
        # Five rows (two K of each variant, one of the plain model), two steps of three views; prompt 1 is grey 20.
        assert sheet.size == (230 + 2 * (3 * 64 + 8), 40 + 5 * 64)
        pixels = np.asarray(sheet.convert("L"))
        assert abs(int(pixels[40 + 2 * 64 + 30, 230 + 30]) - 20) < 4
        told = read_packet(sheet.info["xmp"])
    assert told["Iptc4xmpExt:DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert "/baseline" in told["tunemv3d:Checkpoint"] and "/plain" in told["tunemv3d:Checkpoint"]


@pytest.mark.slow
def test_jobs_come_in_the_order_of_the_study_and_train_once(tmp_path: Path) -> None:
    evaluations = {
        "first": {"variants": ["no-noise"], "protocol": "consistency"},
        "second": {"variants": ["baseline", "no-noise"], "protocol": "consistency", "consistency": "2"},
        "third": {"variants": ["baseline", "no-noise"], "protocol": "consistency"},
    }
    content = run(small_study(evaluations=evaluations), tmp_path / "out", jobs=1)
    begun = [line.split(":")[0] for line in content["told"] if "begins" in line]
    assert begun == [
        "train-no-noise-seed0",
        "first-no-noise-seed0",
        "train-baseline-seed0",
        "second-baseline-seed0",
        "second-no-noise-seed0",
        "third-baseline-seed0",
    ]
    # What the first one asked for already is not done again.
    (pair,) = content["evaluations"]["third"]["paired"]
    assert (pair["variant_b"], pair["difference"]) == ("no-noise", pytest.approx(-0.3))


def test_a_variant_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    variants = {"baseline": {"spec": "chairs-mini"}, "bad": {"spec": "ablation-no-raw-noise-mini"}}
    content = run(small_study(variants=variants), tmp_path / "out")
    assert set(content["missing"]) == {f"{what}-bad-seed{seed}" for what in ("train", "curves") for seed in (0, 1)}
    assert "the loss is not finite" in content["missing"]["train-bad-seed1"]
    assert content["missing"]["curves-bad-seed0"].startswith("needs 'train-bad-seed0': failed: exit code 2")
    assert {row["variant"] for row in content["evaluations"]["curves"]["means"]} == {"baseline"}
    assert "the loss is not finite" in (tmp_path / "out/report.md").read_text()


@pytest.mark.slow
def test_figures_by_another_model_are_told(tmp_path: Path) -> None:
    variants = {"baseline": {"spec": "chairs-mini"}, "odd": {"spec": "ablation-no-raw-noise-mini"}}
    content = run(small_study(variants=variants), tmp_path / "out")
    told = [text for text in content["warnings"] if "do not compare" in text]
    assert [text.split(" than in")[0].split("in ")[-1] for text in told] == ["'curves-odd-seed0'", "'curves-odd-seed1'"]
    assert not [text for text in run(small_study(), tmp_path / "alike")["warnings"] if "do not compare" in text]


@pytest.mark.slow
def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    run(small_study(), tmp_path / "out")
    again = run(small_study(), tmp_path / "out")
    assert again["told"] == [] and again["missing"] == {}
    changed = run(small_study(set=["optimizer.lr=1e-4"]), tmp_path / "out")
    assert sum("train" in line and "begins" in line for line in changed["told"]) == 6


@pytest.mark.slow
def test_a_run_that_was_removed_is_not_trained_again_for_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = run(small_study(), out)
    shutil.rmtree(out / "runs")
    shutil.rmtree(out / "evaluations/curves/baseline-seed0/samples")
    again = run(small_study(), out)
    assert again["told"] == [] and again["missing"] == {}
    assert again["evaluations"] == before["evaluations"] and again["pictures"] == before["pictures"]
    (out / "evaluations/curves/plain-seed1/evaluate.json").unlink()
    begun = [line.split(":")[0] for line in run(small_study(), out)["told"] if "begins" in line]
    assert begun == ["train-plain-seed1", "curves-plain-seed1"]


def slow_study() -> Study:
    evaluations = {"curves": {"protocol": "consistency", "at": [10, 40]}}
    return small_study(variants={"slow": {"spec": "chairs-mini"}}, evaluations=evaluations)


@pytest.mark.slow
def test_time_ends_what_runs_and_the_same_command_goes_on(tmp_path: Path) -> None:
    plan = slow_study()
    began = time.monotonic()
    content = run(plan, tmp_path / "out", minutes=0.02)
    assert time.monotonic() - began < 20
    assert content["missing"]["train-slow-seed0"].startswith("interrupted: exit code 130")
    assert content["missing"]["curves-slow-seed0"].startswith("not begun: time was up after 0.02 minutes")
    again = run(plan, tmp_path / "out")
    assert again["missing"] == {}
    assert [job["tries"] for job in again["jobs"]] == [2, 1]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows cannot ask a process to end")
def test_a_study_that_is_asked_to_end_asks_its_jobs_and_goes_on_later(tmp_path: Path) -> None:
    file, out = tmp_path / "study.json", tmp_path / "out"
    file.write_text(slow_study().model_dump_json())
    code = "from tunemv3d_core.console import run; from tunemv3d_eval.study import jobs; import sys\n"
    code += f"jobs.TRAIN = ({STAND_INS!r}, 'train')\n"
    code += "from tunemv3d_eval.study_command import study; run(study)"
    command = [sys.executable, "-c", code, str(file), "--out", str(out)]
    with running(command, stderr=subprocess.PIPE) as study:
        assert study.stderr is not None
        assert b"begins" in study.stderr.readline()
        wait_for(out / "runs/slow-seed0/checkpoints/step-000010")
        study.send_signal(signal.SIGTERM)
        assert study.wait(20) == 130
    assert "the study was interrupted" in (out / "report.md").read_text()
    assert json.loads((out / "jobs.jsonl").read_text())["state"] == "interrupted"
    assert run(slow_study(), out)["missing"] == {}


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until, f"{path} does not come"
        time.sleep(0.05)


@pytest.mark.slow
def test_no_time_writes_the_report_of_what_is_there(tmp_path: Path) -> None:
    run(small_study(), tmp_path / "out")
    (tmp_path / "out/report.html").unlink()
    content = run(small_study(), tmp_path / "out", minutes=0)
    assert content["told"] == [] and (tmp_path / "out/report.html").is_file()
    assert content["evaluations"]["curves"]["means"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such lock")
def test_a_folder_is_one_studys_even_after_a_kill_while_its_jobs_live(tmp_path: Path) -> None:
    child = "import sys, time; from tunemv3d_eval.study.engine import started; from pathlib import Path; "
    hold = "from tunemv3d_eval.study.work import alone_in; out = Path(sys.argv[1])\n"
    hold += (
        "with alone_in(out):\n    p = started((sys.executable, '-c', 'import time; time.sleep(60)'), out / 'log', {})\n"
    )
    hold += "    print(p.pid, flush=True); time.sleep(60)"
    with running([sys.executable, "-c", child + hold, str(tmp_path)], stdout=subprocess.PIPE) as study:
        assert study.stdout is not None
        job = int(study.stdout.readline())
        study.kill()
    with pytest.raises(TuneMV3DError, match="jobs of one that was killed"), alone_in(tmp_path):
        pass
    os.kill(job, signal.SIGKILL)
    for _ in range(100):
        try:
            with alone_in(tmp_path):
                return
        except TuneMV3DError:
            time.sleep(0.05)
    pytest.fail("the folder stays held")


def test_every_step_to_evaluate_has_a_checkpoint_that_is_kept() -> None:
    assert checkpoints_of(small_study(evaluations={"a": {"at": [10, 40]}})) == (10, 4)
    plan = small_study(steps=2000, evaluations={"a": {"at": [500, 1000]}, "b": {}})
    assert checkpoints_of(plan) == (500, 4)
    # An interrupted run writes further ones, which must not push these out.
    assert "train.keep=24" in training_overrides(plan, plan.variants["baseline"], 0)


def test_given_folders_are_evaluated_at_the_steps_that_they_have(tmp_path: Path) -> None:
    plan = study_of(["chairs-mini"], [20, 40], [3], "consistency", "consistency", [])
    run(plan, tmp_path / "first")
    trained = tmp_path / "first/runs/chairs-mini-seed3"
    spec = canonical_json(resolved_specs(plan)["chairs-mini"])
    for step in (20, 40):
        (trained / f"checkpoints/step-{step:06d}/spec.json").write_text(spec)
    both = study_of([str(trained), "ablation-no-raw-noise-mini"], [10, 40], [0], "consistency", "", [])
    assert both.variants["chairs-mini-seed3"].checkpoint == str(trained)
    content = run(both, tmp_path / "second")
    means = {(row["variant"], row["step"]) for row in content["evaluations"]["steps"]["means"]}
    ablation = "ablation-no-raw-noise-mini"
    assert means == {("chairs-mini-seed3", 40), (ablation, 10), (ablation, 40)}
    with pytest.raises(TuneMV3DError, match="has checkpoints of steps 20, 40; asked for are 50"):
        run(study_of([str(trained)], [50], [0], "consistency", "", []), tmp_path / "third")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": {"a": {}}}, "variants.a: give 'spec'"),
        ({"variants": {"a/b": {"spec": "x"}}}, "variants: 'a/b' holds '/'"),
        ({"variants": {"a": {"spec": "x"}, "A": {"spec": "y"}}}, "one folder where case does not count"),
        ({"evaluations": {"e": {"at": [50]}}}, "50 lies beyond the study's 40 steps"),
        ({"evaluations": {"e": {"variants": ["no-nois"]}}}, "Did you mean 'no-noise'?"),
        ({"evaluations": {"e": {"seeds": [1, 1]}}}, "should name each once"),
        ({"evaluations": {"e": {"consistency": "1,x"}}}, "consistency 'x'"),
        ({"evaluations": {"e": {"protocoll": "x"}}}, "unknown. Did you mean 'protocol'?"),
    ],
)
def test_a_file_that_is_no_study_is_refused_by_its_field(tmp_path: Path, changes: dict, message: str) -> None:
    file = tmp_path / "study.json"
    file.write_text(json.dumps({**small_study().model_dump(mode="json"), **changes}))
    with pytest.raises(SpecError) as caught:
        read_study(file)
    assert str(file) in str(caught.value) and message in str(caught.value)


def test_a_protocol_that_is_not_there_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(TuneMV3DError, match="Did you mean 'consistency'"):
        run(study_of(["chairs-mini"], [1], [0], "consistenci", "", []), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_bases_and_other_data_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"'furniture-mini' is trained on furniture, 'chairs-mini' on chairs; .*data"):
        resolved_specs(study_of(["chairs-mini", "furniture-mini"], [1], [0], "consistency", "", []))
    other = {"spec": "chairs-mini", "set": ["model.backbone.pretrained=other"]}
    plan = small_study(variants={"a": {"spec": "chairs-mini"}, "b": other})
    with pytest.raises(SpecError, match="variant 'b' is based on other, 'a' on sd-mini"):
        resolved_specs(plan)
    with pytest.raises(SpecError, match=r"variant 'a': .*optimizer.lrr: unknown"):
        resolved_specs(small_study(variants={"a": {"spec": "chairs-mini", "set": ["optimizer.lrr=1"]}}))


def test_a_job_gets_the_card_with_the_fewest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    machine = ThisMachine(2, visible_cards())
    assert machine.capacity == 4
    told = (
        sys.executable,
        "-c",
        "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True); time.sleep(1)",
    )
    works = [machine.start(told, tmp_path / f"{i}.log") for i in range(4)]
    while any(work.exit_code() is None for work in works):
        time.sleep(0.05)
    assert [(tmp_path / f"{i}.log").read_text().strip() for i in range(4)] == ["3", "5", "3", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_cards() == []


def test_the_command_takes_specs_or_a_studys_file(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path / "out")]
    words = ["chairs-mini", "ablation-no-raw-noise-mini", "--at", "10,20", "--protocol", "consistency", *out, "--json"]
    result = CliRunner().invoke(APP, words)
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["variants"]) == {"chairs-mini", "ablation-no-raw-noise-mini"}
    file = tmp_path / "study.json"
    file.write_text(json.dumps(small_study().model_dump(mode="json")))
    refused = CliRunner().invoke(APP, [str(file), "--seeds", "1", *out])
    assert isinstance(refused.exception, TuneMV3DError) and "--seeds" in str(refused.exception)
    late = CliRunner().invoke(APP, [str(file), "--minutes", "0", "--out", str(tmp_path / "late")])
    assert late.exit_code == 1
    (tmp_path / "else").mkdir()
    (tmp_path / "else/precious").write_text("x")
    refused = CliRunner().invoke(APP, [*words[:6], "--out", str(tmp_path / "else")])
    assert isinstance(refused.exception, TuneMV3DError) and "not a study's folder" in str(refused.exception)


@pytest.mark.slow
def test_a_ray_cluster_does_the_same_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = RayCluster(2)
    try:
        content = run_study(
            small_study(evaluations={"last": {"protocol": "consistency"}}), tmp_path, cluster, None, print
        )
        assert content["missing"] == {}
        differences = {row["variant_b"]: row["difference"] for row in content["evaluations"]["last"]["paired"]}
        assert differences["no-noise"] == pytest.approx(-0.3)
        told = (sys.executable, "-c", "import signal, time; signal.signal(15, lambda *_: exit(130)); time.sleep(60)")
        asleep = cluster.start(told, tmp_path / "asleep.log")
        time.sleep(3)
        asleep.stop()
        until = time.monotonic() + 20
        while asleep.exit_code() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert asleep.exit_code() is not None
    finally:
        cluster.close()


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TuneMV3DError, match=r"pip install 'tunemv3d-eval\[ray\]'"):
        RayCluster(1)
