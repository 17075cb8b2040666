"""``tunemv3d env``: what a report of a fault should say of a machine and its installation; no paths, no secrets."""

import os
import platform
from collections import Counter
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from rich.table import Table

from tunemv3d_core import __version__
from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.cli.options import JsonOption
from tunemv3d_core.console import console, print_json, print_table
from tunemv3d_core.io.json_files import parse
from tunemv3d_core.plugins.discovery import is_permitted
from tunemv3d_core.plugins.registry import registry

LIBRARIES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "pydantic", "numpy", "pillow", "triton")
"""Libraries whose versions explain most faults."""

_GIB = 2**30


def env(as_json: JsonOption = False) -> None:
    """Say what is installed here and what it runs on: paste it into a report. It holds no paths and no secrets."""
    found = environment()
    if as_json:
        print_json(found)
    else:
        _print(found)
        say_next("tunemv3d", "plugins", "list", "--load")


def environment() -> dict[str, Any]:
    """Return versions, devices, distributions with plugins, and what optional packages are missing for what."""
    return {
        "tunemv3d": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "memory_gib": machine_memory(),
        **_torch(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "distributions": _distributions(),
        "missing": _missing(),
    }


def machine_memory() -> float | None:
    """Return the machine's memory in GiB; None where the system does not tell it this way, as Windows."""
    if not hasattr(os, "sysconf"):
        return None
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB, 1)
    except (OSError, ValueError):
        return None


def _torch() -> dict[str, Any]:
    """Return torch's threads and devices, or why it cannot be imported."""
    try:
        import torch
    except Exception as error:  # a broken installation raises whatever its libraries do
        return {"torch_problem": f"torch cannot be imported: {type(error).__name__}: {_without_paths(error)}"}
    devices = []
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
        memory = round(about.total_memory / _GIB, 1)
        devices.append({"device": f"cuda:{index}", "name": about.name, "memory_gib": memory, "built_for": built})
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple GPU"})
    return {"threads": torch.get_num_threads(), "devices": devices}


def _without_paths(error: Exception) -> str:
    """Return the words of a message that are no paths."""
    return " ".join(word for word in str(error).split() if "/" not in word and "\\" not in word)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _distributions() -> list[dict[str, Any]]:
    """Return every distribution that has plugins, with how it was installed."""
    records = registry().everything()
    counts = Counter((record.distribution, record.version) for record in records)
    return [
        {
            "name": name,
            "version": version,
            "plugins": count,
            "installed": _origin(name),
            "permitted": is_permitted(name),
        }
        for (name, version), count in sorted(counts.items())
    ]


def _origin(name: str) -> str:
    """Tell how a distribution was installed: "editable", "file" (folder or wheel), "address" or "index" (PEP 610)."""
    try:
        text = metadata.distribution(name).read_text("direct_url.json")
        about = parse(text) if text else {}
        if about.get("dir_info", {}).get("editable"):
            return "editable"
        return {"": "index", "file": "file"}.get(str(about.get("url", "")).partition(":")[0], "address")
    except (metadata.PackageNotFoundError, ValueError, AttributeError):
        return "unknown"


def _missing() -> list[dict[str, Any]]:
    """Return every extra of these distributions that is not whole: what it lacks, and the commands that may want it."""
    records = registry().everything()
    found = []
    for name in sorted({record.distribution for record in records}):
        commands = [r.name for r in records if r.distribution == name and r.slot == "command"]
        for extra, packages in _unmet(name).items():
            serves = [extra] if extra in commands else commands
            found.append({"extra": f"{name}[{extra}]", "packages": packages, "commands": serves})
    return found


def _unmet(name: str) -> dict[str, list[str]]:
    """Return what is not installed, or too old, of each extra; nothing of a distribution with malformed metadata."""
    try:
        required = [Requirement(line) for line in metadata.requires(name) or []]
        extras = metadata.metadata(name).get_all("Provides-Extra") or []
    except (metadata.PackageNotFoundError, InvalidRequirement):
        return {}
    unmet: dict[str, list[str]] = {}
    for requirement in required:
        for extra in extras:
            marker = requirement.marker
            only_here = marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
            present = _version(requirement.name)
            if only_here and (present is None or not requirement.specifier.contains(present, prereleases=True)):
                unmet.setdefault(extra, []).append(f"{requirement.name}{requirement.specifier}")
    return unmet


def _print(found: dict[str, Any]) -> None:
    memory = "" if found["memory_gib"] is None else f", {found['memory_gib']} GiB of memory"
    console.print(f"tunemv3d {found['tunemv3d']}, Python {found['python']}, {found['system']}")
    console.print(f"{found['cpus']} processors{memory}", highlight=False)
    if "torch_problem" in found:
        console.print(found["torch_problem"], style="yellow", soft_wrap=True)
    for device in found.get("devices", []):
        size = f", {device['memory_gib']} GiB, {device['built_for']}" if "memory_gib" in device else ""
        console.print(f"{device['device']}: {device['name']}{size}", highlight=False)
    if found.get("devices") == []:
        console.print(f"no accelerator; {found['threads']} threads", highlight=False)
    told = [f"{name} {version or 'not installed'}" for name, version in found["libraries"].items()]
    console.print(", ".join(told), highlight=False)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for heading in ("distribution", "version", "plugins", "installed"):
        table.add_column(heading)
    for each in found["distributions"]:
        note = "" if each["permitted"] else ", forbidden by TUNEMV3D_PLUGINS"
        table.add_row(each["name"], each["version"], str(each["plugins"]), each["installed"] + note)
    print_table(table)
    for each in found["missing"]:
        serves = f" for {', '.join(each['commands'])}" if each["commands"] else ""
        console.print(
            f"optional{serves}: pip install '{each['extra']}' (lacks {', '.join(each['packages'])})", soft_wrap=True
        )
