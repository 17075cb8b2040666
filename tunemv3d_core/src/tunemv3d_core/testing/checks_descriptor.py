"""Checks of an installed component's descriptor, before the component is built."""

import os
import re
import subprocess
import sys

from tunemv3d_core.plugins.descriptor import API, ComponentPlugin
from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import ComponentUnderTest

HEAVY = ("torch", "diffusers", "transformers")
"""Libraries that a descriptor must not import, because listings import many descriptors."""

PATIENCE = 60
"""Time limit in seconds of an import and of threads that it left behind."""


def check_discoverable(component: ComponentUnderTest) -> None:
    """An entry point of the slot names it, and its descriptor has the same slot and name."""
    record, plugin = component.record, component.plugin
    if not isinstance(plugin, ComponentPlugin):
        raise ConformanceError(f"the entry point {record.value} should name a ComponentPlugin, not {plugin!r}")
    stated, wanted = (plugin.slot, plugin.name), (record.slot, record.name)
    if stated != wanted:
        raise ConformanceError(f"the descriptor has slot and name {stated}, the entry point {wanted}")
    if not plugin.summary.strip() or "\n" in plugin.summary:
        raise ConformanceError("the descriptor's summary should be one line that says what the component is")


def check_light_descriptor(component: ComponentUnderTest) -> None:
    """Importing its descriptor imports no torch, diffusers or transformers, and prints nothing."""
    module = component.record.value.partition(":")[0]
    code = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    command = [sys.executable, "-c", code]
    try:
        found = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise ConformanceError(f"a process that imports {module} does not end within {PATIENCE} s") from None
    if found.returncode or not found.stderr:
        raise ConformanceError(
            f"importing {module} ends a fresh process (exit code {found.returncode})\n{found.stderr}"
        )
    if found.stdout:
        raise ConformanceError(f"importing {module} prints {found.stdout!r}")
    loaded = found.stderr.strip().splitlines()[-1]
    if loaded != "[]":
        raise ConformanceError(f"importing {module} imports {loaded}: import them in the module that 'build' names")


def check_interface_version(component: ComponentUnderTest) -> None:
    """It is written for a version of the slot's interface that this core offers: the same major, no newer minor one."""
    api, offered = component.plugin.api, API[component.slot]
    if not re.fullmatch(r"\d+\.\d+", api):
        raise ConformanceError(f"api is '{api}', not 'major.minor' as in '{offered}'")
    theirs, ours = ([int(number) for number in version.split(".")] for version in (api, offered))
    if theirs[0] != ours[0] or theirs[1] > ours[1]:
        raise ConformanceError(f"written for version {api} of the interface; this tunemv3d-core offers {offered}")


def environment() -> dict[str, str]:
    """Return variables with which another Python finds the same modules."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


CHECKS = (check_discoverable, check_light_descriptor, check_interface_version)
