"""From source folders to the files that an index takes: an sdist each, and a wheel made from that sdist."""

import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.plugins.discovery import normalised


@dataclass(frozen=True)
class Project:
    """A source folder of one distribution.

    Attributes:
        folder: holds ``pyproject.toml`` and, unless it only names others, ``src``.
        stated: the table ``project`` of its ``pyproject.toml``.
    """

    folder: Path
    stated: dict[str, Any]

    @property
    def name(self) -> str:
        """The distribution's, normalised."""
        return normalised(self.stated["name"])

    @property
    def version(self) -> str:
        """The distribution's."""
        return str(self.stated["version"])


@dataclass(frozen=True)
class Built:
    """What one project became."""

    project: Project
    wheel: Path
    sdist: Path


class BuildError(Exception):
    """One project that does not build; the message ends with what the build said."""


def read_project(folder: Path) -> Project:
    """Read a project's ``pyproject.toml``.

    Raises:
        ComponentError: there is none, it is not TOML, or it states no name or version.
    """
    path = folder / "pyproject.toml"
    try:
        stated = tomllib.loads(path.read_text("utf-8")).get("project", {})
    except OSError as error:
        raise ComponentError(f"{path}: {error.strerror}; name the folder of a package") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ComponentError(f"{path}: not TOML: {error}") from None
    for key in ("name", "version"):
        if not isinstance(stated.get(key), str):
            raise ComponentError(f'{path}: [project] states no {key}; add {key} = "..."')
    return Project(folder, stated)


def check_tools() -> None:
    """Refuse to start without what builds need: they take nothing from the network.

    Raises:
        ComponentError: says what to install.
    """
    missing = [tool for tool in ("build", "hatchling", "packaging") if find_spec(tool) is None]
    if missing:
        raise ComponentError(f"a release is built with {', '.join(missing)}: pip install {' '.join(missing)}")


def build(project: Project, out: Path) -> Built:
    """Build an sdist and from it a wheel into ``out``, with the build tools of this environment.

    Raises:
        BuildError: it does not build.
    """
    before = set(out.iterdir())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(project.folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise BuildError("does not build: " + " / ".join(said[-3:]))
    made = set(out.iterdir()) - before
    (wheel,) = (file for file in made if file.suffix == ".whl")
    (sdist,) = (file for file in made if file.name.endswith(".tar.gz"))
    return Built(project, wheel, sdist)
