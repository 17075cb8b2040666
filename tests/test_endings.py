"""Commands end with what to do next, show what they made on request, and read well wherever they print."""

import ast
import os
import re
import shlex
import subprocess
import sys
import webbrowser
from importlib.util import find_spec
from pathlib import Path

import pytest

from tunemv3d_core.cli import ending
from tunemv3d_core.plugins.registry import load_value, registry

BIN = Path(sys.executable).parent
ENDLESS = {"view", "serve"}
"""Commands that go on until they are stopped."""
OTHERWISE = {"release", "sbom", "sign", "verify"}
"""``release`` says ``twine upload dist/*``, whose star the shell is to read; the others' files go to other people."""
SHOWN = ["sample", "report", "mesh", "refine", "evaluate", "study", "data show", "train"]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    bare = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "COLUMNS")}
    return subprocess.run(
        [str(BIN / words[0]), *words[1:]], env=bare | environment, capture_output=True, text=True, timeout=120
    )


def commands() -> dict[str, object]:
    """Every command's function by its words."""
    import typer

    from tunemv3d_train.cli import train

    found: dict[str, object] = {"train": train}
    for name in registry().names("command"):
        app = load_value(registry().load(registry().find("command", name)).app)
        if isinstance(app, typer.Typer):
            for each in app.registered_commands:
                found[f"{name} {each.name or each.callback.__name__.rstrip('_')}"] = each.callback
        else:
            found[name] = app
    return found


def called(function: object) -> set[str]:
    """Names of functions that are called in the module of a command, which may hold several commands."""
    tree = ast.parse(Path(sys.modules[function.__module__].__file__).read_text("utf-8"))
    return {n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def test_every_command_says_what_is_next() -> None:
    silent = {name for name, function in commands().items() if "say_next" not in called(function)}
    assert {re.split(r"[ .]", name)[-1] for name in silent} == ENDLESS | OTHERWISE


@pytest.mark.parametrize("name", SHOWN)
def test_what_writes_something_to_look_at_can_show_it(name: str) -> None:
    function = commands()[name]
    assert ending.OpenOption in function.__annotations__.values()
    assert {"show_result", "show_mesh"} & called(function)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "tunemv3d env",
        "tunemv3d spec show chairs-mini",
        "tunemv3d plugins show neus",
        "tunemv3d spec diff chairs-mini wide.json",
    ],
)
def test_the_last_line_is_a_command_that_is_there(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wide.json").write_text('{"extends": "chairs-mini", "model": {"field": {"hidden": 128}}}')
    done = run(*shlex.split(line))
    assert done.returncode == 0, done.stderr
    words = shlex.split(re.fullmatch(r"next: (.*)", done.stderr.strip().splitlines()[-1])[1])
    depth = 1 + sum(not word.startswith("-") for word in words[1:3]) if words[0] == "tunemv3d" else 1
    known = [w for w in words[:depth]]
    while known:
        asked = run(*known, "--help")
        if asked.returncode == 0:
            break
        known.pop()
    assert len(known) > (words[0] == "tunemv3d")
    assert "next:" not in run(*shlex.split(line), "--json").stderr


def test_words_are_quoted_for_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tunemv3d", "mesh", Path("my samples/it's")]
    ending.say_next(*words)
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert shlex.split(told.err.removeprefix("next: ")) == [str(word) for word in words]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_without_a_display_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    page = tmp_path / "a page.html"
    ending.show_result(page)
    assert capsys.readouterr().err == f"no display here: open {page} where there is one\n"
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    ending.show_result(page)
    assert opened == [page.as_uri()] and "%20" in opened[0] and capsys.readouterr().err == ""
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    ending.show_result("http://127.0.0.1:8080/")
    assert capsys.readouterr().err == "no browser was found here: open http://127.0.0.1:8080/ in one\n"


@pytest.mark.slow
def test_data_show_opens_its_page(tmp_path: Path) -> None:
    log = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > "{log}"\n')
    browser.chmod(0o755)
    out = tmp_path / "pages"
    words = ["tunemv3d", "data", "show", "chairs", "--objects", "2", "--out", str(out), "--open"]
    done = run(*words, BROWSER=f"{browser} %s")
    assert done.returncode == 0, done.stderr
    assert log.read_text().strip() == (out / "index.html").as_uri()
    without = run(*words)
    assert without.returncode == 0 and f"no display here: open {out / 'index.html'}" in without.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["tunemv3d env", "tunemv3d plugins list", "tunemv3d plugins show neus", "tunemv3d spec show chairs-mini"]
)
def test_pipes_get_no_colours_and_60_columns_are_kept(line: str) -> None:
    done = run(*shlex.split(line), COLUMNS="60", NO_COLOR="1", FORCE_COLOR="")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert find_spec("rich")
    wide = [row for row in done.stdout.splitlines() if len(row) > 60 and " " in row.strip()[:60] and "  " in row]
    assert wide == []


@pytest.mark.parametrize("columns", [(), ("needs",)])
def test_narrow_tables_break_no_words(columns: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table

    from tunemv3d_core import console

    said = "silhouettes-and-opacities-of-everything"
    table = Table("metric", "what it asks", *columns)
    table.add_row("hull-recall", f"how {said} agree", *(f"a {said}" for _ in columns))
    for width, is_table in ((200, True), (60, len(columns) == 0), (45, False)):
        narrow = console.Console(width=width, markup=False)
        monkeypatch.setattr(console, "console", narrow)
        with narrow.capture() as captured:
            console.print_table(table)
        told = captured.get()
        assert said in told and "hull-recall" in told
        assert ("┏" in told) is is_table
        assert max(map(len, told.splitlines())) <= width
