"""The command: what it prints, its exit codes, and what it costs to start."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.cli.main import app
from tunemv3d_core.console import run
from tunemv3d_core.errors import SpecError
from tunemv3d_core.plugins.descriptor import MODEL_SLOTS

COMMAND = """
from tunemv3d_core.plugins.descriptor import CommandPlugin
PLUGIN = CommandPlugin("greet", "fake_greeting:{app}", "Greets from a fake package.")
"""
GREETING = """
import signal
import typer
from tunemv3d_core.errors import DatasetError

def greet(name: str, loud: bool = False):
    '''Greets.'''
    if name == "nobody":
        raise DatasetError("nobody.json: there is nobody [here]")
    if name in ("SIGINT", "SIGTERM"):
        signal.raise_signal(getattr(signal, name))
    print(f"hello {name}" + "!" * loud)

app = typer.Typer()
app.command("greet")(greet)
app.command("part")(greet)
"""


@pytest.fixture
def tunemv3d(site: FakeSite, capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            run(app, list(arguments))
        out, err = capfd.readouterr()
        return int(caught.value.code or 0), out, err

    return call


@pytest.fixture
def spec_file(site: FakeSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for slot in (*MODEL_SLOTS, "dataset"):
        site.component(slot, "fake", f"fake-{slot}")
    model = {slot: {"type": "fake"} for slot in MODEL_SLOTS}
    spec = {"name": "test", "model": model, "data": {"type": "fake"}, "train": {"steps": 100}}
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text(json.dumps(spec), "utf-8")
    return "a.json"


def greeting(site: FakeSite, app: str = "greet") -> None:
    site.module("fake_greeting_plugin", COMMAND.format(app=app))
    site.module("fake_greeting", GREETING)
    site.distribution("fake_greeting", {"tunemv3d.command": {"greet": "fake_greeting_plugin:PLUGIN"}})


def test_a_command_of_another_package_is_listed_without_importing_it_and_runs(site: FakeSite, tunemv3d: Any) -> None:
    greeting(site)
    code, out, _ = tunemv3d("--help")
    assert code == 0 and "Greets from a fake package." in out
    assert "fake_greeting" not in sys.modules
    assert tunemv3d("greet", "you", "--loud") == (0, "hello you!\n", "")
    assert tunemv3d("greet")[0] == 2
    assert "install-completion" not in tunemv3d("greet", "--help")[1]


def test_a_typer_app_becomes_a_group(site: FakeSite, tunemv3d: Any) -> None:
    greeting(site, "app")
    assert tunemv3d("greet", "part", "you") == (0, "hello you\n", "")


def test_errors_for_people_are_one_message_and_interrupts_130(site: FakeSite, tunemv3d: Any) -> None:
    greeting(site)
    assert tunemv3d("greet", "nobody") == (2, "", "error: nobody.json: there is nobody [here]\n")
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for name in ("SIGINT", "SIGTERM"):
        assert tunemv3d("greet", name) == (130, "", "interrupted\n")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_run_takes_a_plain_function_too(capsys: pytest.CaptureFixture[str]) -> None:
    def train(spec: str) -> None:
        raise SpecError(f"{spec}: no")

    with pytest.raises(SystemExit) as caught:
        run(train, ["x.json"])
    assert caught.value.code == 2 and capsys.readouterr().err == "error: x.json: no\n"


@pytest.mark.parametrize("source", ["import no_such_library", "PLUGIN = 3"])
def test_a_broken_command_costs_only_itself(site: FakeSite, tunemv3d: Any, source: str) -> None:
    site.module("broken_command", source)
    site.distribution("fake_broken", {"tunemv3d.command": {"broken": "broken_command:PLUGIN"}})
    code, out, _ = tunemv3d("--help")
    assert code == 0 and "plugins" in out and "broken" in out
    assert tunemv3d("plugins", "list")[0] == 0
    code, out, err = tunemv3d("broken")
    assert (code, out) == (2, "") and "command broken (fake-broken 1.2)" in err and "Traceback" not in err


def test_a_command_whose_module_does_not_load(site: FakeSite, tunemv3d: Any) -> None:
    greeting(site, "no_such_function")
    code, _, err = tunemv3d("greet", "you")
    assert code == 2 and "'fake_greeting:no_such_function' does not load: AttributeError" in err


def test_release_is_of_a_package_that_is_asked_for_by_name(tunemv3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--dry-run" in tunemv3d("plugins", "release", "--help")[1]
    commands = list(tunemv3d("--help")[1].split())
    assert "plugins" in commands and "plugins.release" not in commands
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "-tunemv3d-release")
    assert "release" in tunemv3d("plugins", "--help")[1]
    for options in ([], ["--dry-run"], ["--help"]):
        code, out, err = tunemv3d("plugins", "release", *options)
        assert (code, out, err.count("\n")) == (2, "", 1) and "pip install 'tunemv3d[release]'" in err


def rows_of(out: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["name"], row["distribution"]): row for row in json.loads(out)}


def test_plugins_list(site: FakeSite, tunemv3d: Any) -> None:
    site.component("field", "cloud", "fake-a")
    site.component("field", "cloud", "fake-b")
    site.distribution("fake_broken", {"tunemv3d.field": {"broken": "no_such_module:PLUGIN"}})
    code, out, _ = tunemv3d("plugins", "list", "--json")
    rows = rows_of(out)
    assert code == 0 and rows["cloud", "fake-a"]["duplicates"] == ["fake-b"]
    assert rows["broken", "fake-broken"]["version"] == "1.2" and "problem" not in rows["broken", "fake-broken"]
    assert not sys.modules.keys() & set(site.modules)
    assert "also in fake-b; this one is 'fake-a:cloud'" in " ".join(tunemv3d("plugins", "list")[1].split())


@pytest.mark.slow
def test_plugins_list_load_shows_what_is_wrong_and_keeps_stdout_clean(
    site: FakeSite, tunemv3d: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "-tunemv3d-modulation,-tunemv3d-eval,-tunemv3d-data,-tunemv3d-shape")
    site.component("field", "cloud", "fake-a", renamed_to="mist")
    site.component("field", "loud", "fake-loud", more="print('[bold]hello')")
    site.component("field", "slow", "fake-slow", more="import time\ntime.sleep(1.1)")
    site.component("field", "hangs", "fake-hangs", more="while True: pass")
    site.component("field", "neus", "evil-plugin")
    site.distribution("fake_broken", {"tunemv3d.field": {"broken": "no_such_module:PLUGIN"}})
    site.distribution("fake_stray", {"tunemv3d.feild": {"stray": "no_such_module:PLUGIN"}})
    code, out, err = tunemv3d("plugins", "list", "--load", "--seconds", "3", "--json")
    rows = rows_of(out)
    assert code == 1 and err == ""
    assert "ModuleNotFoundError" in rows["broken", "fake-broken"]["problem"]
    assert "its import did not end within 3 s" in rows["hangs", "fake-hangs"]["problem"]
    assert "Did you mean 'field'?" in rows["stray", "fake-stray"]["problem"]
    assert rows["cloud", "fake-a"]["problem"] is None and rows["cloud", "fake-a"]["renamed_to"] == "mist"
    assert rows["loud", "fake-loud"]["printed"] == "[bold]hello\n"
    assert 1.1 <= rows["slow", "fake-slow"]["seconds"] < 3
    assert rows["neus", "evil-plugin"]["reached_as"] == "evil-plugin:neus"
    assert rows["plugins", "tunemv3d-core"]["problem"] is None


@pytest.mark.slow
def test_the_table_of_plugins_says_it_in_words(site: FakeSite, tunemv3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site.component("field", "cloud", "fake-a", renamed_to="mist")
    site.component("field", "loud", "fake-loud", more="print('[bold]hello')")
    site.component("field", "evil", "fake-evil", more="raise AssertionError")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "fake-a,fake-loud")
    code, out, _ = tunemv3d("plugins", "list", "--load")
    assert code == 0, "what is forbidden on purpose is no finding"
    assert "loads; now called 'mist'" in out and "loads; prints '[bold]hello'" in out
    assert "is forbidden by TUNEMV3D_PLUGINS=fake-a,fake-loud" in out
    assert "is forbidden" in tunemv3d("plugins", "list")[1]


def test_a_forbidden_command_says_so_and_is_not_listed(
    site: FakeSite, tunemv3d: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    greeting(site)
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "-fake-greeting")
    assert "greet" not in tunemv3d("--help")[1]
    code, out, err = tunemv3d("greet", "you")
    assert (code, out) == (2, "") and "command greet (fake-greeting 1.2) is forbidden by TUNEMV3D_PLUGINS" in err
    assert "fake_greeting_plugin" not in sys.modules
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "a b")
    assert tunemv3d("plugins", "list")[2].startswith("error: TUNEMV3D_PLUGINS: 'a b' is not the name of a distribution")


def test_a_command_imports_no_other_commands_descriptor(site: FakeSite, tunemv3d: Any) -> None:
    greeting(site)
    site.module("evil_command", "raise SystemExit(3)")
    site.distribution("evil_plugin", {"tunemv3d.command": {"evil": "evil_command:PLUGIN", "plugins": "evil_command:P"}})
    assert tunemv3d("greet", "you") == (0, "hello you\n", "")
    assert tunemv3d("plugins", "list", "--json")[0] == 0, "a name of core's own cannot be taken"
    assert "evil_command" not in sys.modules
    code, _, err = tunemv3d("gret", "you")
    assert code == 2 and "no command 'gret'. Did you mean 'greet'?" in err


def test_warnings_for_people_are_one_line_on_standard_error(
    site: FakeSite, tunemv3d: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
import os, warnings
from tunemv3d_core.errors import TuneMV3DWarning
def greet():
    warnings.warn("saved with [a]==1, " + os.environ.get("TUNEMV3D_PROVENANCE", "unset"), TuneMV3DWarning)
    print("done")
"""
    site.module("fake_greeting_plugin", COMMAND.format(app="greet"))
    site.module("fake_greeting", source)
    site.distribution("fake_greeting", {"tunemv3d.command": {"greet": "fake_greeting_plugin:PLUGIN"}})
    monkeypatch.setenv("TUNEMV3D_PROVENANCE", "ignore")
    assert tunemv3d("greet") == (0, "done\n", "warning: saved with [a]==1, ignore\n")
    assert tunemv3d("--provenance", "error", "greet") == (0, "done\n", "warning: saved with [a]==1, error\n")
    code, out, err = tunemv3d("--provenance", "strict", "greet")
    assert (code, out, err) == (2, "", "error: provenance: should be warn, error, ignore, got 'strict'\n")


def test_plugins_show(site: FakeSite, tunemv3d: Any) -> None:
    site.component("field", "cloud", "fake-cloud")
    code, out, _ = tunemv3d("plugins", "show", "cloud", "--json")
    (shown,) = json.loads(out)
    assert code == 0 and (shown["slot"], shown["distribution"]) == ("field", "fake-cloud")
    assert shown["file"] == str(site.folder / "fake_cloud_field_cloud.py")
    hidden = shown["options"]["hidden"]
    assert (hidden["default"], hidden["minimum"], hidden["description"]) == (128, 1, "Width of the network.")
    _, out, _ = tunemv3d("plugins", "show", "cloud")
    assert "integer >= 1" in out and "Width of the network." in out
    code, _, err = tunemv3d("plugins", "show", "clod")
    assert code == 2 and "nothing is installed as 'clod'. Did you mean 'cloud'?" in err


def test_spec_show_prints_what_the_id_hashes(spec_file: str, tunemv3d: Any) -> None:
    code, canonical, _ = tunemv3d("spec", "show", spec_file, "--json")
    assert code == 0 and json.loads(canonical)["views"]["inputs"] == 8
    code, shown, _ = tunemv3d("spec", "show", spec_file)
    assert code == 0 and f"id {hashlib.sha256(canonical.rstrip(chr(10)).encode()).hexdigest()}\n" in shown
    _, changed, _ = tunemv3d("spec", "show", spec_file, "--json", "--set", "seed=4")
    assert json.loads(changed)["seed"] == 4


def test_spec_validate_lists_every_error_of_every_file(spec_file: str, tunemv3d: Any) -> None:
    Path("bad.json").write_text('{"extends": "a.json", "sead": 1, "loss": {"neus": -1}}', "utf-8")
    assert tunemv3d("spec", "validate", spec_file)[0] == 0
    code, out, err = tunemv3d("spec", "validate", "bad.json", spec_file)
    assert code == 1 and out.startswith("a.json: valid")
    assert "bad.json: sead: unknown. Did you mean 'seed'?" in err and "bad.json: loss.neus: should be" in err
    code, out, _ = tunemv3d("spec", "validate", "bad.json", spec_file, "--json")
    first, second = json.loads(out)
    assert (code, first["valid"], len(first["errors"]), second["valid"]) == (1, False, 2, True)


def test_spec_diff_shows_only_what_differs(spec_file: str, tunemv3d: Any) -> None:
    Path("b.json").write_text('{"extends": "a.json", "model": {"field": {"omega": 2}}, "seed": 1}', "utf-8")
    code, out, _ = tunemv3d("spec", "diff", "a.json", "b.json", "--json")
    assert code == 0 and json.loads(out) == {"seed": [0, 1], "model.field.omega": [1.5, 2.0]}
    _, out, _ = tunemv3d("spec", "diff", "a.json", "b.json")
    assert "model.field.omega" in out and "hidden" not in out
    assert tunemv3d("spec", "diff", "a.json", "a.json")[1] == "no difference\n"


def test_spec_schema_is_json_with_the_installed_components(spec_file: str, tunemv3d: Any) -> None:
    code, out, _ = tunemv3d("spec", "schema")
    field = json.loads(out)["$defs"]["ModelSpec"]["properties"]["field"]
    names = [choice["properties"]["type"]["const"] for choice in field["anyOf"][0]["oneOf"]]
    assert code == 0 and "fake" in names


LIBRARIES = "import typer, typer.rich_utils, rich.console, rich.table, rich.markdown, pydantic; pydantic.BaseModel"
"""What every command line of this kind imports."""


def processor_seconds(code: str, *arguments: str, environment: Mapping[str, str] = os.environ) -> float:
    """What Python code costs in a fresh process, its own children included."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return float(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def cost_in_imports(site: FakeSite, *arguments: str, unwanted: set[str] | None = None) -> float:
    """What a command costs, as a multiple of importing the libraries under it.

    A multiple, because a busy or slow machine makes both dearer. None of the ``unwanted`` modules may be imported, nor
    any heavy library.
    """
    modules = {"torch", "diffusers", "transformers", "numpy"} | (unwanted or set())
    command = (
        "import sys; from tunemv3d_core.cli.main import main\n"
        f"try: main()\nfinally: assert not {modules} & sys.modules.keys(), {modules} & sys.modules.keys()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site.folder), os.environ.get("PYTHONPATH", "")])}
    turns = [
        (processor_seconds(command, *arguments, environment=environment), processor_seconds(LIBRARIES))
        for _ in range(3)
    ]
    return min(command for command, _ in turns) / min(libraries for _, libraries in turns)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["plugins", "list"], ["spec", "diff", "a.json", "a.json"]], ids=" ".join
)
def test_starts_fast_and_without_torch(spec_file: str, site: FakeSite, arguments: list[str]) -> None:
    unwanted = {"tunemv3d_core.config.run_spec"} if arguments == ["--help"] else set()
    assert cost_in_imports(site, *arguments, unwanted=unwanted) < 2.5


@pytest.mark.slow
def test_a_hundred_plugins_are_listed_fast_and_none_is_imported(site: FakeSite) -> None:
    for index in range(100):
        slot = ("field", "lifter", "command", "asset")[index % 4]
        site.module(f"fake_listed_{index}", "raise ImportError")
        points = {f"tunemv3d.{slot}": {f"listed-{index}": f"fake_listed_{index}:PLUGIN"}}
        site.distribution(f"fake-listed-{index}", points)
    assert cost_in_imports(site, "plugins", "list", unwanted={*site.modules, "tunemv3d_core.config.run_spec"}) < 2.5


def test_plugins_show_shows_what_looks_like_markup(
    site: FakeSite, tunemv3d: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    more = '''
class Odd(Options):
    sizes: list[int] = [1, 2]
    """Sizes, as [/red] or [bold]."""
from dataclasses import replace
PLUGIN = replace(PLUGIN, spec=Odd, summary="A [green] component")
'''
    site.component("field", "cloud", "fake-cloud", more=more)
    code, out, _ = tunemv3d("plugins", "show", "cloud")
    assert code == 0 and "A [green] component" in out
    assert "[integer, ...]" in out and "Sizes, as [/red] or [bold]." in out


def test_a_reason_is_told_whole_in_a_narrow_terminal(
    site: FakeSite, tunemv3d: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TUNEMV3D_PLUGINS", "fake-cloud-with-a-long-name")
    site.module("unruly", "raise RuntimeError('out of orderly-ness')")
    site.distribution("fake-cloud-with-a-long-name", {"tunemv3d.command": {"cloud": "unruly:PLUGIN"}})
    code, out, _ = tunemv3d("plugins", "list", "--load")
    assert code == 1 and "…" not in out
    assert max(map(len, out.splitlines())) <= 80
    name = out.index("name: cloud")
    assert "RuntimeError: out of orderly-ness" in " ".join(out[name:].split()), "beside its component, no word broken"
