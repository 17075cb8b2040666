"""The notebooks run from top to bottom with small settings, and show what they were stored with."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
SMALL = {
    "quickstart": 'PROMPT, SEED = "a red office chair", 0\nVIEWS, STEPS = 2, 1',
    "own_objects": 'os.environ |= {"CAMERAS": "12", "INPUTS": "2", "NOVEL": "1", "STEPS": "1", "SAMPLE_STEPS": "1"}',
    "own_field": 'os.environ |= {"STEPS": "1", "INPUTS": "2", "NOVEL": "1", "SAMPLE_STEPS": "1"}',
}
"""What stands in place of the cell that is tagged "parameters"."""

NAMES = sorted(SMALL)


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: Any) -> list[str]:
    """Kinds of what a cell shows: the name of a stream once, however many pieces it came in, and types of pictures."""
    found = [[out.name] if out.output_type == "stream" else sorted(out.get("data", ["error"])) for out in cell.outputs]
    return sorted({kind for kinds in found for kind in kinds} - {"stderr"})


def test_all_are_tested_and_in_the_documentation() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.ipynb")) == NAMES
    page = (FOLDER.parent / "docs/to-try.md").read_text("utf-8")
    assert re.findall(r"^\| `notebooks/(\w+)\.ipynb`", page, re.MULTILINE) == ["quickstart", "own_objects", "own_field"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_and_was_run_from_top_to_bottom(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    assert (FOLDER / f"{name}.ipynb").stat().st_size <= 200 * 1024
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    assert [cell for cell in code(notebook) if "error" in kinds(cell)] == []
    assert [cell for cell in code(notebook) if "image/jpeg" in kinds(cell)]


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_nothing_of_the_machine_that_ran_it(name: str) -> None:
    pieces = [
        str(out.get("text", out.get("data", {}).get("text/plain", ""))) for c in code(read(name)) for out in c.outputs
    ]
    text = "\n".join([*(cell.source for cell in read(name).cells), *pieces])
    assert not re.findall(r"(?<![\w.])/(?:home|root|work|tmp|usr|opt)/\S*|https?://\S*|\x1b", text)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    stored, notebook = read(name), read(name)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    parameters.source = SMALL[name]
    for cell in code(notebook):
        cell.outputs = []
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    assert [kinds(cell) for cell in code(notebook)] == [kinds(cell) for cell in code(stored)]


def setup_cell() -> str:
    """The first code cell, which is the same in all notebooks."""
    (source,) = {code(read(name))[0].source for name in NAMES}
    return source


def set_up(folder: Path, pip: str = "raise SystemExit(1)") -> subprocess.CompletedProcess[str]:
    """Run it in a folder by a Python that has neither TuneMV3D nor a pip but one of these lines."""
    (stand_in := folder / "packages/pip").mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "__main__.py").write_text(pip)
    variables = {"PYTHONPATH": str(folder / "packages"), "PATH": os.environ["PATH"]}
    words = [sys._base_executable, "-S", "-c", setup_cell()]
    return subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)


def test_without_the_package_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = set_up(tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == (
        "TuneMV3D is not installed: put a checkout (folder TuneMV3D) or its wheels beside this notebook.\n"
    )


def test_without_a_network_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "tunemv3d_core-0.1.0-py3-none-any.whl").touch()
    done = set_up(tmp_path)
    assert done.returncode == 1
    assert done.stderr == "TuneMV3D's dependencies could not be installed: run this cell again with a network.\n"


@pytest.mark.parametrize("place", ["TuneMV3D", "."])
def test_a_checkout_beside_the_notebook_is_installed(tmp_path: Path, place: str) -> None:
    (tmp_path / place / "tunemv3d_core").mkdir(parents=True)
    done = set_up(tmp_path, "import sys; print(*sys.argv[1:], sep='\\n')")
    assert done.returncode == 0, done.stderr
    parts = [line for line in done.stdout.splitlines() if "tunemv3d_" in line]
    assert str((tmp_path / place).resolve() / "plugins/tunemv3d_mini") in parts and len(parts) == 7
    assert [part for part in parts if not (FOLDER.parent / Path(part).relative_to(tmp_path / place)).is_dir()] == []
