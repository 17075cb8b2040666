"""What listing many plugins costs: ``python benchmarks/plugins_list.py [--plugins 100] [--json plugins-list.json]``.

Makes distributions of one component each in a temporary folder, as pip leaves them, whose import is an error, and runs
``tunemv3d plugins list`` on them and on everything that is installed: seconds by the clock and of the processor, the
least and the median of several runs. Nothing of them may be imported.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tunemv3d_core.plugins.descriptor import COMPONENT_SLOTS

SCRIPT = """
import sys
sys.argv = ["tunemv3d", "plugins", "list"]
from tunemv3d_core.cli.main import main
try:
    main()
finally:
    made = {made!r}
    assert not made & sys.modules.keys(), f"imported: {{made & sys.modules.keys()}}"
    assert not {{"torch", "tunemv3d_core.config.run_spec"}} & sys.modules.keys(), "heavy imports"
"""


def install(folder: Path, count: int) -> set[str]:
    """Distributions with one component or, every tenth, one command each; the names of their modules."""
    slots = [*COMPONENT_SLOTS, "command"]
    for index in range(count):
        name, slot = f"listed_plugin_{index:03d}", slots[index % len(slots)]
        info = folder / f"{name}-1.{index}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.{index}\n", "utf-8")
        (info / "entry_points.txt").write_text(f"[tunemv3d.{slot}]\nlisted-{index:03d} = {name}:PLUGIN\n", "utf-8")
        (folder / f"{name}.py").write_text("raise ImportError('a listing must not import this')\n", "utf-8")
    return {path.stem for path in folder.glob("*.py")}


def measure(folder: Path, made: set[str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor for one listing in a fresh process."""
    import resource  # not on Windows

    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-c", SCRIPT.format(made=made)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert sum("listed-" in line for line in done.stdout.splitlines()) == len(made)
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugins", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = install(Path(folder), options.plugins)
        measure(Path(folder), made)  # fills the caches of files and bytecode
        clock, processor = zip(*(measure(Path(folder), made) for _ in range(options.repeats)), strict=True)
    report: dict[str, Any] = {"plugins": options.plugins, "python": platform.python_version(), "cpus": os.cpu_count()}
    report["load"] = round(os.getloadavg()[0], 1)  # what else ran, which the clock sees and the processor time does not
    for name, seconds in (("clock", clock), ("processor", processor)):
        report[name] = {"least": round(min(seconds), 3), "median": round(statistics.median(seconds), 3)}
    print(json.dumps(report))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
