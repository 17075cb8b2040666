"""Plugins that misbehave while they are imported, tried in another process."""

import sys

import pytest
from fake_distributions import FakeSite

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins import isolated_import
from tunemv3d_core.plugins.isolated_import import import_each
from tunemv3d_core.plugins.registry import registry

PLUGINS = {
    "good": "",
    "old": "",
    "loud": "import os\nprint('hello')\nos.write(1, b'to the descriptor')\nos.system('echo from a child')",
    "raises": "raise RuntimeError('out of order')",
    "panics": "class Panic(BaseException): pass\nraise Panic('at the disco')",
    "exits": "import sys\nsys.exit('goodbye')",
    "dies": "import os\nos._exit(0)",
    "crashes": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "while True: pass",
    "deaf": "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(1000)",
    "slow": "import time\ntime.sleep(0.5)",
    "last": "",
}

CAUSES = {
    "raises": "RuntimeError: out of order",
    "panics": "Panic: at the disco",
    "exits": "SystemExit: goodbye",
    "dies": "its import ended the process (exit code 0)",
    "crashes": "its import ended the process (exit code -11)",
    "hangs": "its import did not end within 2 s",
    "deaf": "its import did not end within 2 s",
}


@pytest.mark.slow
def test_each_costs_only_itself_and_is_told(site: FakeSite, capfd: pytest.CaptureFixture[str]) -> None:
    for name, more in PLUGINS.items():
        site.component("field", name, f"fake-{name}", more=more, renamed_to="good" if name == "old" else "")
    records = [registry().find("field", name) for name in PLUGINS]
    results = dict(zip(PLUGINS, import_each(records, 2.0), strict=True))
    assert capfd.readouterr() == ("", "")
    assert not sys.modules.keys() & set(site.modules), "nothing was imported here"
    broken = {name: result.problem for name, result in results.items() if result.problem is not None}
    assert broken.keys() == CAUSES.keys()
    for name, problem in broken.items():
        assert problem.startswith(f"field {name} (fake-{name} 1.2)") and CAUSES[name] in problem
    assert 0.5 <= results["slow"].seconds < 2 and results["hangs"].seconds == 2
    assert results["loud"].printed == "hello\n" and results["last"].printed == ""
    assert results["old"].renamed_to == "good"


def test_blame_falls_on_the_one_that_did_it_wherever_it_stands(site: FakeSite) -> None:
    names = ["good", "dies", "old", "last"]
    for name in names:
        site.component("field", name, f"fake-{name}", more=PLUGINS[name])
    results = dict(zip(names, import_each([registry().find("field", name) for name in names], 20.0), strict=True))
    assert {name for name, result in results.items() if result.problem} == {"dies"}
    assert str(results["dies"].problem).startswith("field dies (fake-dies 1.2)")


SPECS = {
    "option": ('{"extends": "chairs-mini", "model": {"field": {"hiden": 3}}}', "field.hiden: unknown"),
    "torn": ('{"extends": ', "not JSON"),
    "part": ('{"extends": "chairs-mini", "model": {"field": {"type": "nues"}}}', "Did you mean 'neus'?"),
    "fine": ('{"extends": "chairs-mini", "name": "fine"}', None),
}
"""Packaged specs, and what is told of each."""

BUILDS = {
    "gone": ("no_such_module:build", "'no_such_module:build' does not load: ModuleNotFoundError"),
    "lacks": ("json:build", "'json:build' does not load: AttributeError"),
    "uncalled": ("json:__name__", "'json:__name__' is nothing that can be called"),
    "breaks": ("breaking:build", "'breaking:build' does not load: RuntimeError: out of order"),
    "works": ("json:loads", None),
}
"""What descriptors name, and what is told of each."""


@pytest.mark.slow
def test_what_descriptors_name_is_imported_and_packaged_specs_are_validated(site: FakeSite) -> None:
    for name, (build, _) in BUILDS.items():
        site.component("field", name, f"fake-{name}", build=build)
    site.module("breaking", "raise RuntimeError('out of order')")
    paths = (f"{name.upper()} = Path(__file__).parent / '{name}.json'\n" for name in SPECS)
    site.module("specs_of_fake", "from pathlib import Path\n" + "".join(paths))
    site.distribution("fake-specs", {"tunemv3d.spec": {name: f"specs_of_fake:{name.upper()}" for name in SPECS}})
    for name, (content, _) in SPECS.items():
        (site.folder / f"{name}.json").write_text(content)
    records = [registry().find("field", name) for name in BUILDS]
    records += [registry().find("spec", f"fake-specs:{name}") for name in SPECS]
    told = {record.name: r.problem for record, r in zip(records, import_each(records, 60.0, targets=True), strict=True)}
    for name, (_, expected) in (BUILDS | SPECS).items():
        problem = told[name]
        assert problem is None if expected is None else problem is not None and expected in problem, problem
    assert str(told["gone"]).startswith("field gone (fake-gone 1.2): ")
    assert str(told["option"]).startswith("spec option (fake-specs 1.2): ")
    assert all(result.problem is None for result in import_each(records[:1], 60.0)), "asked for descriptors alone"


def test_a_process_that_does_not_begin_is_told(site: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.component("field", "good", "fake-good")
    monkeypatch.setattr(isolated_import, "STARTING", 0.0)
    with pytest.raises(ComponentError, match="did not begin within 0 s"):
        list(import_each([registry().find("field", "good")], 2.0))
