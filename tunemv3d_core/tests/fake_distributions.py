"""Distributions made of files in a folder, as an installer leaves them."""

import sys
from pathlib import Path

DESCRIPTOR = """
from pydantic import Field
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.config.component_fields import AggregatorSpec
from tunemv3d_core.config.component_spec import ComponentSpec

class Options(ComponentSpec):
    hidden: int = Field(default=128, ge=1)
    \"\"\"Width of the network.\"\"\"
    omega: float = 1.5
    \"\"\"Lowest frequency, radians a world unit.\"\"\"

PLUGIN = ComponentPlugin(
    "{slot}", "{name}", "{api}", Options, "{build}", "A component for tests", renamed_to="{renamed_to}"
)
"""


class FakeSite:
    """A folder on ``sys.path`` with distributions and modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def module(self, name: str, source: str) -> None:
        (self.folder / f"{name}.py").write_text(source, "utf-8")
        self.modules.append(name)

    def distribution(self, name: str, entry_points: dict[str, dict[str, str]], version: str = "1.2") -> Path:
        """The metadata that ``pip install`` leaves of a wheel."""
        info = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", "utf-8")
        (info / "INSTALLER").write_text("pip\n", "utf-8")
        groups = (f"[{g}]\n" + "".join(f"{k} = {v}\n" for k, v in e.items()) for g, e in entry_points.items())
        (info / "entry_points.txt").write_text("\n".join(groups), "utf-8")
        (info / "RECORD").write_text("".join(f"{info.name}/{file.name},,\n" for file in info.iterdir()), "utf-8")
        return info

    def component(
        self,
        slot: str,
        name: str,
        distribution: str,
        *,
        api: str = "1.0",
        build: str = "json:loads",
        renamed_to: str = "",
        more: str = "",
    ) -> None:
        """A distribution with one component that works. ``more`` is added to the end of its module."""
        module = f"{distribution}_{slot}_{name}".replace("-", "_")
        described = DESCRIPTOR.format(slot=slot, name=name, api=api, build=build, renamed_to=renamed_to)
        self.module(module, described + more)
        self.distribution(distribution, {f"tunemv3d.{slot}": {name: f"{module}:PLUGIN"}})

    def forget(self) -> None:
        for name in self.modules:
            sys.modules.pop(name, None)
