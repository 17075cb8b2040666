"""Builds of source folders: an sdist each, and a wheel made from that sdist."""

import subprocess
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from build import BuildBackendException, BuildException, ProjectBuilder
from packaging.utils import canonicalize_name
from pyproject_hooks import quiet_subprocess_runner

from tunemv3d_core.errors import ComponentError
from tunemv3d_release.links import rewrite_sdist, with_whole_links


@dataclass(frozen=True)
class Project:
    """Source folder of one distribution.

    Attributes:
        folder: holds ``pyproject.toml`` and, unless the distribution only names others, ``src``.
        pyproject: the content of its ``pyproject.toml``.
    """

    folder: Path
    pyproject: dict[str, Any]

    @property
    def metadata(self) -> dict[str, Any]:
        """Table ``project`` of its ``pyproject.toml``."""
        return dict(self.pyproject["project"])

    @property
    def name(self) -> str:
        """Normalised name of the distribution."""
        return canonicalize_name(self.metadata["name"])

    @property
    def version(self) -> str:
        """Version of the distribution."""
        return str(self.metadata["version"])


@dataclass(frozen=True)
class Built:
    """Files that one project became."""

    project: Project
    wheel: Path
    sdist: Path


class BuildError(Exception):
    """A project does not build; the message ends with the last lines of the build's output."""


def read_project(folder: Path) -> Project:
    """Read a project's ``pyproject.toml``.

    Raises:
        ComponentError: there is none, it is not TOML, or it states no name or version.
    """
    path = folder / "pyproject.toml"
    try:
        pyproject = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ComponentError(f"{path}: {error.strerror}; name the folder of a package") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ComponentError(f"{path}: not TOML: {error}") from None
    for key in ("name", "version"):
        if not isinstance(pyproject.get("project", {}).get(key), str):
            raise ComponentError(f'{path}: [project] states no {key}; add {key} = "..."')
    return Project(folder, pyproject)


def build(project: Project, out: Path) -> Built:
    """Build an sdist and from it a wheel into ``out``, with the build tools of this environment.

    The README's links are led to where they work outside the repository (``with_whole_links``).

    Raises:
        BuildError: it does not build.
    """
    before = set(out.iterdir())
    _run_build("sdist", out, project.folder)
    (sdist,) = set(out.iterdir()) - before
    _lead_links(project, sdist)
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(sdist) as packed:
            packed.extractall(scratch, filter="data")
        (unpacked,) = Path(scratch).iterdir()
        _run_build("wheel", out, unpacked)
    (wheel,) = set(out.iterdir()) - before - {sdist}
    return Built(project, wheel, sdist)


def _lead_links(project: Project, sdist: Path) -> None:
    stated = project.metadata.get("readme")
    readme = stated.get("file", "") if isinstance(stated, dict) else stated or ""
    path = project.folder / readme
    if readme.endswith(".md") and path.is_file():
        text = path.read_text("utf-8")
        led = with_whole_links(text, project.folder.resolve(), project.metadata.get("urls", {}), project.version)
        if led != text:
            rewrite_sdist(sdist, readme, led)


def _run_build(kind: Literal["sdist", "wheel"], out: Path, folder: Path) -> None:
    try:
        ProjectBuilder(folder, runner=quiet_subprocess_runner).build(kind, out)
    except (BuildException, BuildBackendException) as error:
        cause = getattr(error, "exception", None)
        told = cause.output.decode(errors="replace") if isinstance(cause, subprocess.CalledProcessError) else str(error)
        lines = [line for line in told.splitlines() if line.strip()]
        raise BuildError("does not build: " + " / ".join(lines[-3:])) from None
