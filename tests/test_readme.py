"""What the README says can be typed, can be typed; it is short, and what it shows and links to is there."""

import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from tunemv3d_core.config.loading import load_spec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^    (tunemv3d\S* .*?)(?:\s+#.*)?$", README, flags=re.MULTILINE)
COMMANDS = list(dict.fromkeys([*BLOCKS, *re.findall(r"`(tunemv3d(?:-train)? [^`]+)`", README)]))
LIGHT = [c for c in COMMANDS if re.search(r" spec | plugins (list|show) ", f"{c} ")]
BIN = Path(sys.executable).parent


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / words[0]), *words[1:]], capture_output=True, text=True, timeout=60)


@cache
def help_of(*words: str) -> str:
    result = run(*words, "--help")
    assert result.returncode == 0, result.stderr
    return result.stdout


def rendered(text: str = README) -> BeautifulSoup:
    """As an index shows it: what its sanitiser takes away is missing."""
    from markdown_it import MarkdownIt
    from readme_renderer.clean import clean

    return BeautifulSoup(clean(MarkdownIt("commonmark").enable("table").render(text)), "html.parser")


def test_it_is_short_and_light() -> None:
    assert len(README.splitlines()) <= 150
    pictures = [ROOT / tag["src"] for tag in rendered().select("img")]
    assert len(pictures) >= 8
    assert sum(path.stat().st_size for path in set(pictures)) <= 1_200_000


def test_links_and_pictures_are_there_and_pictures_have_words() -> None:
    page = rendered()
    for tag in page.select("a[href], img[src]"):
        path, _, anchor = str(tag.get("href") or tag.get("src")).partition("#")
        assert "://" in path or (ROOT / path).is_file(), path
        if anchor and path.endswith(".md"):
            titles = re.findall(r"^#+ (.*)$", (ROOT / path).read_text("utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert all(len(tag.get("alt", "")) > 15 for tag in page.select("img"))


def test_the_first_screen_says_what_goes_in_and_out_what_it_needs_and_takes() -> None:
    first = README.partition("\n## ")[0]
    assert "front.webp" in first
    assert re.search(r"^\| goes in \| comes out \| needs \| takes \|$", first, flags=re.MULTILINE)


def test_commands_are_found() -> None:
    assert len(BLOCKS) >= 8 and len(COMMANDS) > len(BLOCKS)


@pytest.mark.parametrize("line", LIGHT)
def test_light_commands_run(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0])
    result = run(*words)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


@pytest.mark.slow
@pytest.mark.parametrize("line", [c for c in COMMANDS if c not in LIGHT])
def test_heavy_commands_know_their_options(line: str) -> None:
    words = shlex.split(line)
    names = [word for word in words if not word.startswith("-")]
    depth = {"tunemv3d-train": 1, "tunemv3d": 3 if names[1] in ("data", "plugins") else 2}[words[0]]
    shown = help_of(*names[:depth])
    for option in (word for word in words if word.startswith("--")):
        assert option in shown, f"{option} is no option of {' '.join(names[:depth])}"


def test_the_example_spec_says_only_its_difference(tmp_path: Path) -> None:
    example = json.loads(re.search(r"```json\n(.*?)```", README, flags=re.DOTALL).group(1))
    path = tmp_path / "wider.json"
    path.write_text(json.dumps(example))
    mine, packaged = load_spec(path).model_dump(), load_spec("chairs-mini").model_dump()
    assert mine["model"]["field"].pop("hidden") == 128
    assert packaged["model"]["field"].pop("hidden") == 64
    assert (mine.pop("name"), packaged.pop("name")) == ("wider", "chairs-mini")
    assert mine == packaged


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As written, but for a single denoising step; in this process, which has imported torch already."""
    example = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    quick = example.replace("elevation=20))", "elevation=20), num_inference_steps=1)")
    assert quick != example
    monkeypatch.chdir(tmp_path)
    exec(quick, {"__name__": "__main__"})
    assert (tmp_path / "view.png").stat().st_size > 1000


def test_make_knows_the_two_commands() -> None:
    for target, command in (("train", "tunemv3d-train chairs-mini"), ("test", "-m pytest")):
        result = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert result.returncode == 0 and command in result.stdout
