"""The kit's three faces: ``run_checks``, pytest and the command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.cli.main import app
from tunemv3d_core.console import run
from tunemv3d_core.errors import ComponentError
from tunemv3d_core.testing import Outcome, checks_of, parametrize_with_checks, run_checks

TEST_FILE = """
from tunemv3d_core.testing import parametrize_with_checks

@parametrize_with_checks("dataset", "silent", expected_failures={failures})
def test_conformance(check):
    check()
"""

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        blocked = {"tunemv3d_neus", "tunemv3d_modulation", "tunemv3d_train", "diffusers", "transformers", "pytest"}
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from tunemv3d_core.testing import run_checks
spec = {"slot": "field", "part": "Field"}
print([(r.check, r.note) for r in run_checks("field", "good", spec) if r.outcome not in ("passed", "not applicable")])
"""


@pytest.fixture
def kit(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> FakeSite:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    points = {
        "tunemv3d.dataset": {"good": "kit_plugins:GOOD_DATASET", "silent": "kit_plugins:SILENT_DATASET"},
        "tunemv3d.field": {"good": "kit_plugins:GOOD_FIELD", "gone": "no_such_module:FIELD"},
        "tunemv3d.asset": {"picture": "kit_plugins:PICTURE"},
    }
    site.distribution("kit_parts", points)
    return site


@pytest.fixture
def tunemv3d(kit: FakeSite, capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            run(app, ["plugins", "check", *arguments])
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)


def test_an_expected_failure_is_told_with_its_reason_and_an_unexpected_pass_is_a_finding(kit: FakeSite) -> None:
    expected = {"spec_described": "told elsewhere", "spec_frozen": "not yet"}
    found = {result.check: result for result in run_checks("dataset", "silent", expected_failures=expected)}
    assert (found["spec_described"].outcome, found["spec_described"].note) == (Outcome.EXPECTED, "told elsewhere")
    assert found["spec_frozen"].outcome is Outcome.UNEXPECTED and "remove it" in found["spec_frozen"].note
    assert {r.outcome for name, r in found.items() if name not in (*expected, "streams", "maps")} == {Outcome.PASSED}


def test_an_expected_failure_of_no_check_is_refused() -> None:
    with pytest.raises(ComponentError, match=r"no check 'view_permutations'\. Did you mean 'view_permutation'\?"):
        parametrize_with_checks("field", "any", expected_failures={"view_permutations": "why"})
    with pytest.raises(ComponentError, match=r"no slot 'feild' of components\. Did you mean 'field'\?"):
        checks_of("feild")


def test_what_cannot_be_imported_fails_where_it_is_looked_for_and_the_rest_is_not_run(kit: FakeSite) -> None:
    found = {result.check: result for result in run_checks("field", "gone")}
    assert found["discoverable"].outcome is Outcome.FAILED and "no_such_module" in found["discoverable"].note
    assert (found["loss_falls"].outcome, found["loss_falls"].note) == (Outcome.NOT_RUN, "needs 'builds'")
    assert {r.outcome for r in run_checks("field", "nowhere")} == {Outcome.FAILED, Outcome.NOT_RUN}


@pytest.mark.slow
def test_pytest_shows_each_check_as_a_test(kit: FakeSite, tmp_path: Path) -> None:
    file = tmp_path / "test_theirs.py"
    file.write_text(TEST_FILE.format(failures={"spec_described": "told elsewhere", "spec_frozen": "no"}), "utf-8")
    result = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-rxf", str(file))
    assert result.returncode == 1
    assert (
        "15 passed" in result.stdout
        and "2 skipped" in result.stdout
        and "1 xfailed" in result.stdout
        and "1 failed" in result.stdout
    )
    assert "test_conformance[spec_described] - told elsewhere" in result.stdout
    assert "it passed; remove it from expected_failures: no" in result.stdout


@pytest.mark.slow
def test_the_command_prints_a_table_or_json_and_exits_by_what_it_found(tunemv3d: Any) -> None:
    code, out, _ = tunemv3d("good", "--slot", "dataset")
    assert code == 0 and "17 of 19 checks passed" in out and "spec_round_trip" in out
    code, out, _ = tunemv3d("silent", "--json")
    (told,) = json.loads(out)
    rows = {row["check"]: row for row in told["checks"]}
    assert code == 1 and (told["slot"], told["name"]) == ("dataset", "silent")
    assert rows["spec_described"]["outcome"] == "failed" and "SilentDataset.width" in rows["spec_described"]["note"]
    assert rows["spec_frozen"]["outcome"] == "passed" and rows["spec_frozen"]["asks"].startswith("Its options")


def test_the_command_takes_a_reason_for_a_failure_and_runs_one_check_with_those_that_it_needs(tunemv3d: Any) -> None:
    code, out, _ = tunemv3d("silent", "--expect", "spec_described=told elsewhere", "--json")
    rows = {row["check"]: row for row in json.loads(out)[0]["checks"]}
    assert code == 0 and rows["spec_described"]["note"] == "told elsewhere"
    code, out, _ = tunemv3d("silent", "--expect", "spec_frozen=not yet", "--only", "spec_frozen", "--json")
    rows = {row["check"]: row for row in json.loads(out)[0]["checks"]}
    assert code == 1 and list(rows) == ["discoverable", "spec_frozen"] and "it passed" in rows["spec_frozen"]["note"]


@pytest.mark.slow
def test_the_command_prints_what_a_check_raised(tunemv3d: Any) -> None:
    code, out, _ = tunemv3d("silent", "--verbose")
    assert code == 1 and "Traceback" in out and "in check_spec_described" in out
    assert "Traceback" not in tunemv3d("silent")[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["silnt"], "no component 'silnt'. Did you mean 'silent'?"),
        (["good", "--slot", "feild"], "no slot 'feild' of components. Did you mean 'field'?"),
        (["silent", "--slot", "field"], "no component 'silent'"),
        (["picture"], "'picture' is in the slot 'asset'; only components can be checked"),
        (["silent", "--spec", "{"], "--spec: line 1, column 2: not JSON"),
        (["silent", "--only", "spec_frozn"], "has no check 'spec_frozn'. Did you mean 'spec_frozen'?"),
        (["silent", "--expect", "spec_frozen"], "--expect should be a check and why"),
        (["silent", "--expect", "spec_frozn=why"], "has no check 'spec_frozn'"),
        (["good", "--only", "spec_frozen"], "say whose checks: --slot field"),
        (["silent", "--spec", "[1]"], "--spec should be options by name"),
        (["silent", "--spec", '{"widht": 3}'], "widht: unknown. Did you mean 'width'?"),
    ],
)
def test_bad_input_is_one_message_before_anything_runs(tunemv3d: Any, arguments: list[str], told: str) -> None:
    code, out, err = tunemv3d(*arguments)
    assert (code, out) == (2, "") and told in err and "Traceback" not in err


def test_naming_the_command_imports_no_torch() -> None:
    code = "import sys, tunemv3d_core.cli.plugins; print('torch' in sys.modules or 'pytest' in sys.modules)"
    assert python("-c", code).stdout.strip() == "False"


@pytest.mark.slow
def test_core_alone_checks_a_strangers_component(kit: FakeSite) -> None:
    result = python("-c", BLOCKED)
    assert result.stdout.strip() == "[]", result.stderr


def test_options_of_a_name_in_two_slots_are_asked_whose_they_are(kit: FakeSite, tunemv3d: Any) -> None:
    code, out, err = tunemv3d("good", "--spec", '{"slot": "field"}')
    assert (code, out) == (2, "") and "'good' is in the slots field and dataset" in err and "--slot field" in err
