"""Fill in the templates."""

import keyword
import re
from importlib.util import find_spec
from pathlib import Path
from string import Template

from tunemv3d_core import __version__
from tunemv3d_core.errors import ComponentError, suggestion
from tunemv3d_core.io.atomic import atomic_folder
from tunemv3d_core.plugins.descriptor import API, COMPONENT_SLOTS
from tunemv3d_core.plugins.discovery import normalised
from tunemv3d_core.plugins.registry import registry

TEMPLATES = Path(__file__).parent / "templates"
SHARED = ("package", "component", "with_spec", "alone")
SLOTS = tuple(sorted(folder.name for folder in TEMPLATES.iterdir() if folder.name not in SHARED))
"""Slots that have a template."""

USES = {
    "mesh_renderer": "tunemv3d data render MESHES --out data/mine --renderer {}",
    "mesher": 'tunemv3d sample chairs-mini "a red office chair" --mesher {}',
    "metric": "tunemv3d evaluate chairs-mini --metric {}",
}
"""How a component is used that is no part of a spec; those of other slots are trained by a packaged spec."""

NEEDS = {"mesh_renderer": "tunemv3d-data", "spec": "tunemv3d"}
"""The distribution that a package depends on, where that is not core alone."""


def write_package(slot: str, name: str, out: Path) -> list[Path]:
    """Write a package with one component, completely or not at all.

    Args:
        slot: one of ``SLOTS``.
        name: name of the component and of the Python package.
        out: the package's folder, which must not exist.

    Returns:
        The files, relative to ``out``.

    Raises:
        ComponentError: no such slot, a name that cannot be used or is taken, a folder that is there already.
    """
    _check(slot, name, out)
    layers = ("package", *_shared(slot), slot)
    values = _values(slot, name)
    try:
        with atomic_folder(out) as beside:
            sources = [(file, TEMPLATES / layer) for layer in layers for file in (TEMPLATES / layer).rglob("*.txt")]
            files = [_fill(file, layer, beside, values) for file, layer in sources]
    except OSError as error:
        raise ComponentError(f"{out}: cannot be written: {error.strerror}; choose another folder with --out") from None
    return sorted(files)


def _check(slot: str, name: str, out: Path) -> None:
    if slot not in SLOTS:
        raise ComponentError(f"no template for '{slot}'.{suggestion(slot, SLOTS)} There are: {', '.join(SLOTS)}")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ComponentError(
            f"'{name}' cannot be the name of a Python package: use lower-case letters, digits and single underscores "
            "between them, a letter first, and no word that Python reserves, such as 'my_field'"
        )
    if claims := [record for record in registry().records(slot) if record.name == name]:
        raise ComponentError(
            f"the {slot} '{name}' is installed already, by {claims[0].distribution}; choose another name"
        )
    if out.exists():
        raise ComponentError(f"{out} exists already; choose another folder with --out, or remove it")
    if find_spec(name) is not None:
        raise ComponentError(f"a Python package '{name}' is installed already; choose another name")


def _shared(slot: str) -> tuple[str, ...]:
    """Return the layers of a component between package and slot."""
    if slot not in COMPONENT_SLOTS:
        return ()
    return "component", "alone" if slot in USES else "with_spec"


def _values(slot: str, name: str) -> dict[str, str]:
    """Return the values of the placeholders. The class ends in the slot's last word, so that it hides no import."""
    kind = slot.replace("_", " ")
    words, last = name.split("_"), kind.split()[-1]
    groups = {slot: f'{name} = "{name}.plugin:PLUGIN"'}
    trains = "with_spec" in _shared(slot)
    if trains:
        groups["spec"] = f'{name}-mini = "{name}.plugin:MINI_SPEC"'
    return {
        "slot": slot,
        "kind": kind,
        "name": name,
        "distribution": normalised(name),
        "class_name": "".join(word.capitalize() for word in (words if words[-1] == last else [*words, last])),
        "summary": f"{'An' if kind[0] in 'aeiou' else 'A'} {kind}",
        "api": API.get(slot, ""),
        "core": __version__,
        "needs": NEEDS.get(slot, "tunemv3d-core"),
        "use": USES.get(slot, "tunemv3d-train {}-mini").format(name),
        "and_spec": f", and `src/{name}/mini.json` the spec `{name}-mini`, which\ntrains with it at mini scale"
        * trains,
        "entry_points": "\n".join(f'[project.entry-points."tunemv3d.{g}"]\n{line}\n' for g, line in groups.items()),
    }


def _fill(file: Path, layer: Path, folder: Path, values: dict[str, str]) -> Path:
    """Write one template, whose path is a template as well."""
    path = Path(Template(str(file.relative_to(layer).with_suffix(""))).substitute(values))
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(Template(file.read_text("utf-8")).substitute(values), "utf-8", newline="\n")
    return path
