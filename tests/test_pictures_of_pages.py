"""The pictures of the README and the documentation are what the pages say that they are."""

import json
import re
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "docs" / "_static"
sys.path.insert(0, str(ROOT / "docs" / "pictures"))

import making
import table

PAGES = {path: path.read_text("utf-8") for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
NAMES = {Path(picture.file).stem: picture for picture in table.PICTURES}
TEXT = {path: " ".join(text.split()) for path, text in PAGES.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_was_made_by_what_its_page_says(name: str) -> None:
    """From this checkpoint, by these commands; the file is the one that was made then."""
    picture = NAMES[name]
    known = json.loads(picture.record.read_text("utf-8"))
    assert known["sha256"] == making._sha256([picture.path]), "another file: make pictures"
    assert known["assets"] == {asset: making.asset_sha256(asset) for asset in picture.assets}, "make pictures"
    assert known["commands"] == list(picture.commands), "make pictures"
    pages = [path for path, text in PAGES.items() if f"_static/{picture.file}" in text]
    assert pages, "no page shows it"
    captions = [path for path in pages if known["caption"] in TEXT[path]]
    assert captions, f"no page has its caption: {known['caption']}"


@pytest.mark.parametrize("name", NAMES)
def test_a_caption_names_the_command_or_its_prompt_and_seed(name: str) -> None:
    picture = NAMES[name]
    for command in picture.commands:
        prompts = re.findall(r'"([^"]+)"', command)
        assert command in picture.caption or (f'"{prompts[0]}", seed 0' in picture.caption)
        assert not re.search(r"--seeds? (?!0\b)", command), "the first seed"


def test_no_page_shows_a_picture_of_unknown_origin() -> None:
    shown = {each for text in PAGES.values() for each in re.findall(r"_static/([\w/-]+\.\w+)", text)}
    there = {p.relative_to(STATIC).as_posix() for p in STATIC.rglob("*.*") if p.suffix not in (".css", ".js")}
    made = {picture.file for picture in table.PICTURES}
    assert made <= there
    assert [file for file in (there | shown) - made if not file.startswith(tuple(table.ELSEWHERE))] == []
    assert {path.stem for path in making.RECORDS.iterdir()} == set(NAMES)


def test_another_checkpoint_or_command_or_file_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(making, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(making, "DOCS", tmp_path)
    ground = Image.new("RGB", (8, 8), "white")
    picture = making.Picture("a/one.webp", "said", (), lambda folders: [ground], assets=("chairs-mini",))
    assert not picture.is_made()
    making.make(picture, making.Commands())
    assert picture.is_made()
    with monkeypatch.context() as other:
        other.setattr(making, "asset_sha256", lambda name: "0" * 64)
        assert not picture.is_made()
    from dataclasses import replace

    assert not replace(picture, caption="else").is_made() and not replace(picture, commands=("ls",)).is_made()
    picture.path.write_bytes(picture.path.read_bytes() + b" ")
    assert not picture.is_made()


def test_what_is_missing_is_a_sentence_and_the_rest_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = _main()
    monkeypatch.setattr(making, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(making, "DOCS", tmp_path)
    monkeypatch.setattr(making, "WORK", tmp_path / "work")
    ground = Image.new("RGB", (8, 8), "white")
    program = "tunemv3d plugins show no-such-thing"
    pictures = (
        making.Picture("gone.webp", "", (), lambda folders: [ground], assets=("no-such-adapter",)),
        making.Picture("failed.webp", "", (program,), lambda folders: [ground]),
        making.Picture("good.webp", "", (), lambda folders: [ground]),
    )
    monkeypatch.setattr(main, "PICTURES", pictures)
    assert main.main([]) == 1
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(": left out: ")[0] for line in told] == ["error: gone", "error: failed"]
    assert "no-such-adapter" in told[0] and program in told[1] and "no-such-thing" in told[1]
    assert (tmp_path / "_static/good.webp").is_file() and not (tmp_path / "_static/gone.webp").exists()
    assert main.main(["goood"]) == 2 and "Did you mean 'good'?" in capsys.readouterr().err


def test_two_commands_run_at_a_time_and_each_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    met, ran = threading.Barrier(2, timeout=30), []

    def wait_for_another(command: str, assets: dict[str, str]) -> Path:
        ran.append(command)
        met.wait()
        return tmp_path / command

    monkeypatch.setattr(making, "_output", wait_for_another)
    commands = making.Commands()
    picture = making.Picture("none-such.webp", "", ("one", "two"), lambda folders: [])
    for _ in range(2):
        commands.begin(picture)
    assert commands.outputs(picture) == [tmp_path / "one", tmp_path / "two"] and sorted(ran) == ["one", "two"]
    commands.close()


def test_finished_commands_are_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(making, "WORK", tmp_path)
    command = "tunemv3d plugins new field my_field"
    folder = making._output(command, {"chairs-mini": "a"})
    made = folder / "my_field" / "pyproject.toml"
    made.write_text("mine")
    assert making._output(command, {"chairs-mini": "a"}) == folder and made.read_text() == "mine"
    assert making._output(command, {"chairs-mini": "b"}) != folder


def _main() -> ModuleType:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("pictures_main", ROOT / "docs/pictures/__main__.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
