"""The gallery's recipe: its commands, in order and with options that the commands know."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunemv3d_core.console import command_of
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.plugins.registry import load_value, registry

RECIPE = Path(__file__).parents[1] / "recipe/gallery"


def gallery(tmp_path: Path, ends: dict[str, int], *arguments: str) -> tuple[int, list[list[str]]]:
    """Run the script with a ``tunemv3d`` that only writes down what it is asked; its exit codes by command."""
    log = tmp_path / "log"
    script = (
        f"#!{sys.executable}\nimport json, sys\nopen({str(log)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        f"sys.exit({ends!r}.get(sys.argv[1], 0))\n"
    )
    (tmp_path / "tunemv3d").write_text(script)
    (tmp_path / "tunemv3d").chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["sh", str(RECIPE / "gallery.sh"), *arguments], env={"PATH": path}, check=False)
    return done.returncode, [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_every_prompt_is_sampled_meshed_and_shown_with_options_that_exist(tmp_path: Path) -> None:
    code, asked = gallery(tmp_path, {"mesh": 1}, str(tmp_path / "out"), "cpu")
    assert code == 0 and [words[0] for words in asked] == ["sample", "mesh", "sample", "mesh", "report"]
    for name, *words in asked:
        command = command_of(load_value(registry().load(registry().find("command", name)).app), name)
        given = command.make_context(name, list(words)).params
        if name == "sample":
            assert (given["seeds"], given["strip"], given["video"], given["device"]) == ("0-1", True, True, "cpu")
            assert find_asset(given["checkpoint"]).is_dir() and given["prompts_file"].is_file()
        if name == "report":
            assert given["compact"] and given["folders"] == [
                tmp_path / "out/chairs-mini",
                tmp_path / "out/furniture-mini",
            ]


@pytest.mark.parametrize("failing", ["sample", "report"])
def test_what_stops_a_command_stops_the_gallery(tmp_path: Path, failing: str) -> None:
    code, asked = gallery(tmp_path, {failing: 2}, str(tmp_path / "out"))
    assert code != 0 and asked[-1][0] == failing


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    assert gallery(tmp_path, {}, str(tmp_path)) == (2, []) and gallery(tmp_path, {}) == (2, [])


def test_no_prompt_is_a_caption_of_a_packaged_object() -> None:
    prompts = [line for file in RECIPE.glob("*_prompts.txt") for line in file.read_text().splitlines()]
    assert len(prompts) == len(set(prompts)) == 6
    captions = [
        caption.lower()
        for data in ("chairs", "furniture")
        for file in find_asset(data).glob("objects/*/transforms.json")
        for caption in json.loads(file.read_text())["captions"]
    ]
    assert len(captions) > 200 and not set(prompts) & set(captions)
