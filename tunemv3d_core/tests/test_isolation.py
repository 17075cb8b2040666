"""Descriptors of strangers that misbehave while they are imported: what listings and schemas of all parts cost then."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_distributions import FakeSite

BAD = {
    "exits": "import sys\nsys.exit('goodbye')",
    "dies": "import os\nos._exit(7)",
    "raises": "raise RuntimeError('out of order')",
    "interrupts": "raise KeyboardInterrupt",
    "hangs": "import time\ntime.sleep(60)",
}
ODD = {
    "loud": "import os\nprint('hello')\nos.write(1, b'to the descriptor\\n')",
    "threaded": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon={daemon}).start()",
}
COMMAND = """
from tunemv3d_core.plugins.descriptor import CommandPlugin
{more}
PLUGIN = CommandPlugin("{name}", "json:loads", "Greets {name}.")
"""


def tunemv3d(site: FakeSite, *arguments: str) -> tuple[str, str, float]:
    """Standard output and error of a command that ends well, and the seconds that it took."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site.folder), os.environ.get("PYTHONPATH", "")])}
    began = time.monotonic()
    command = [str(Path(sys.executable).parent / "tunemv3d"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr, time.monotonic() - began


@pytest.mark.slow
def test_help_lists_all_commands_whatever_some_do(site: FakeSite) -> None:
    for name, more in {**BAD, **ODD, "good": ""}.items():
        site.module(f"odd_{name}", COMMAND.format(name=name, more=more.format(daemon=False)))
        site.distribution(f"odd-{name}", {"tunemv3d.command": {name: f"odd_{name}:PLUGIN"}})
    out, err, seconds = tunemv3d(site, "--help")
    assert "hello" not in out + err and "descriptor" not in out + err
    assert all(f"Greets {name}." in out for name in ("good", *ODD))
    assert out.count("(broken: ") == len(BAD) and "List, describe" in out
    assert seconds < 40, "neither what hangs nor a thread that is left behind is waited for"


@pytest.mark.slow
@pytest.mark.parametrize("slot", ["field", "aggregator"])
def test_the_schema_leaves_out_what_is_broken_and_says_so(site: FakeSite, slot: str) -> None:
    """An aggregator's options lie in those of the fields."""
    for name, more in {**BAD, **ODD, "good": ""}.items():
        site.component(slot, name, f"odd-{name}", more=more.format(daemon=True))
    commands = [("spec", "schema")] + [("plugins", "show", "neus", "--json")] * (slot == "aggregator")
    for words in commands:
        out, err, seconds = tunemv3d(site, *words)
        json.loads(out)
        assert all(f'"const": "{name}"' in out for name in ("good", *ODD))
        assert not any(f'"const": "{name}"' in out for name in BAD)
        assert all(f"warning: left out: {slot} {name} (odd-{name} 1.2)" in err for name in BAD)
        assert seconds < 40
