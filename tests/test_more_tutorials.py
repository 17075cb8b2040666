"""Every command of the tutorials on a field without a surface and on a dataset of one's own, in order.

Both run in one environment; ``test_tutorial`` has that of the first tutorial.
"""

import re
import subprocess
from pathlib import Path

import pytest
from test_tutorial import QUICK, environment

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```(?:(bash)|\{code-block\} \w+\n:caption: (\S+)\n)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
CHECKS = ("shapes", "dtype_kept", "rolled_views", "premultiplied_values", "depth_within_sphere", "distance_of_surface")
"""Of a field's checks some that are quick; the template's own field is asked all of them elsewhere."""
SHORTER = {
    "tunemv3d-train": QUICK,
    "tunemv3d plugins check my_cloud": "".join(f" --only {check}" for check in CHECKS),
}
"""What is appended to the commands that begin so."""


class Told:
    """What the commands of a page printed, and the folder where they ran."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.home = folder
        self.of: dict[str, str] = {}

    def follow(self, page: str, variables: dict[str, str]) -> None:
        """Write the files of a page and run its commands, in order."""
        for command, caption, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
            if not command:
                assert (self.folder / caption).parent.is_dir()
                (self.folder / caption).write_text(text, encoding="utf-8")
            for line in text.splitlines() if command else ():
                if line.startswith("cd "):
                    self.folder = self.folder / line.removeprefix("cd ")
                else:
                    self.of[line] = self.run(line, variables)

    def run(self, line: str, variables: dict[str, str]) -> str:
        more = "".join(words for start, words in SHORTER.items() if line.startswith(start))
        done = subprocess.run(
            ["bash", "-c", line + more], cwd=self.folder, env=variables, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line + more}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of an environment that both tutorials install into."""
    return environment(tmp_path_factory.mktemp("tutorials") / "venv")


def lint(folder: Path, variables: dict[str, str]) -> None:
    """What pages tell people to write is formatted and typed like the rest."""
    for words in ("ruff format --check .", "ruff check .", "mypy src"):
        done = subprocess.run(words.split(), cwd=folder, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", ["a-field-without-a-surface.md", "a-dataset-of-your-own.md"])
def test_the_page_is_read_whole(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    read = len(BLOCK.findall(text))
    sketches = len(re.findall(r"^```python$", text, re.MULTILINE))
    assert read >= 5 and 2 * (read + sketches) == len(re.findall(r"^```", text, re.MULTILINE))


@pytest.mark.slow
def test_a_field_without_a_surface(tmp_path: Path, variables: dict[str, str]) -> None:
    told = Told(tmp_path)
    told.follow("a-field-without-a-surface.md", variables)
    checked = told.of["tunemv3d plugins check my_cloud"]
    outcomes = dict(re.findall(r"^ (\w+) +(passed|not applicable|failed)", checked, re.MULTILINE))
    assert outcomes.pop("distance_of_surface") == "not applicable"
    assert {*CHECKS} - {"distance_of_surface"} <= set(outcomes) and set(outcomes.values()) == {"passed"}
    lint(told.folder, variables)


@pytest.mark.slow
def test_a_dataset_of_ones_own(tmp_path: Path, variables: dict[str, str]) -> None:
    told = Told(tmp_path)
    told.follow("a-dataset-of-your-own.md", variables)
    checked = next(text for line, text in told.of.items() if line.startswith("tunemv3d plugins check my_photos"))
    assert "17 of 19 checks passed" in checked and "failed" not in checked
    assert "L_neus" in told.of["tunemv3d-train my_photos-mini --out runs/photos"]
    lint(tmp_path / "my_photos", variables)
