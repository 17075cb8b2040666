"""What a repository has beside its code: it names today's version, distributions and commands."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def test_citation_has_the_version_and_the_licence():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])


def test_container_installs_what_pip_would():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {line.partition("==")[0].replace("-", "_") for line in project["dependencies"]}
    text = (ROOT / "Dockerfile").read_text()
    folders = {word for word in re.findall(r"\./[\w/]+", text) if (ROOT / word / "pyproject.toml").is_file()}
    assert {Path(folder).name for folder in folders} == wanted


def test_workflows_run_targets_of_the_makefile_on_supported_pythons():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        workflow = yaml.safe_load(path.read_text())
        for job in workflow["jobs"].values():
            runs = [step["run"] for step in job["steps"] if "run" in step]
            assert {line.removeprefix("make ") for line in runs if line.startswith("make ")} <= targets, path
            assert job["timeout-minutes"] <= 90, path
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    pythons = tests["jobs"]["linux"]["strategy"]["matrix"]["python"]
    least = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert f">={pythons[0]}" == least and pythons == ["3.11", "3.12", "3.13"]


def test_reports_of_faults_ask_for_env():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/fault.yml").read_text())
    asked = [part for part in form["body"] if part.get("id") == "env"]
    assert "tunemv3d env" in asked[0]["attributes"]["label"] and asked[0]["validations"]["required"]
