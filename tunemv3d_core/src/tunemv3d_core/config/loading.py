"""Loading of specs by name or file: packaged specs, ``extends`` and overrides, up to a validated spec."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tunemv3d_core.config.errors import describe_errors
from tunemv3d_core.config.old_names import with_current_names
from tunemv3d_core.config.run_spec import RunSpec, canonical_json
from tunemv3d_core.errors import ComponentError, SpecError
from tunemv3d_core.foreign_text import is_whole, shown
from tunemv3d_core.io.file_names import exists, path_of
from tunemv3d_core.io.json_files import NotJsonError, parse, read_json
from tunemv3d_core.plugins.descriptor import TRAINING_SLOTS
from tunemv3d_core.plugins.registry import registry

DEEPEST = 32
"""Blocks within each other that a spec has at most, and specs that one may extend in a row."""


def load_spec(
    name_or_path: str | Path, overrides: Iterable[str] = (), unneeded: tuple[str, ...] = (), saved: bool = False
) -> RunSpec:
    """Load, resolve and validate a spec.

    Args:
        name_or_path: name of an installed spec (``tunemv3d.spec``), "distribution:name", or a JSON file.
            Names come first.
        overrides: "a.b.c=value" each, the value as JSON or, where it is none, as a string. They merge like a spec
            that extends this one.
        unneeded: slots whose components need not be installed; the options of one that is not are not checked.
        saved: whether a run or a checkpoint wrote it, so that its old names cause no warning.

    Raises:
        SpecError: not found, not JSON, a loop of ``extends``, or invalid; the message has one line per error.
    """
    where, content = resolve(name_or_path, overrides, saved)
    try:
        return RunSpec.model_validate(content, context=unneeded)
    except ValidationError as error:
        raise SpecError("\n".join(f"{where}: {line}" for line in describe_errors(error, RunSpec, content))) from None


def resolve(name_or_path: str | Path, overrides: Iterable[str] = (), saved: bool = False) -> tuple[str, dict[str, Any]]:
    """Read a spec, merge it over what it extends, and merge the overrides over that.

    Returns:
        The name of the spec for messages, and its content without ``extends`` and ``$schema``.

    Raises:
        SpecError: not found, not JSON, a loop of ``extends``, or an override that cannot be read.
    """
    content = _read_chain(str(name_or_path), Path(), (), saved)
    for override in overrides:
        content = merge(content, with_current_names(_patch(override), content, f"override '{shown(override)}'", saved))
    return str(name_or_path), content


def with_model_options(spec: RunSpec, overrides: Iterable[str]) -> RunSpec:
    """Return a spec with other options of its model's components, for whoever samples what it trained.

    Args:
        spec: of a checkpoint.
        overrides: "model.a.b=value" each, as ``load_spec`` takes them.

    Raises:
        SpecError: an override of anything else, or one that is not valid; the message has one line per error.
    """
    given = list(overrides)
    for override in given:
        if not override.strip().startswith("model."):
            raise SpecError(
                f"--set {shown(override)}: of a checkpoint the options of its model's components may be set, as in "
                "model.field.samples=48; how it is sampled has options of its own"
            )
    return with_overrides(spec, given, unneeded=TRAINING_SLOTS)


def with_overrides(spec: RunSpec, overrides: Iterable[str], unneeded: tuple[str, ...] = ()) -> RunSpec:
    """Return a resolved spec with other options.

    Args:
        spec: resolved.
        overrides: "a.b=value" each, as ``load_spec`` takes them.
        unneeded: slots whose components need not be installed.

    Raises:
        SpecError: one that is not valid; the message has one line per error.
    """
    given = list(overrides)
    if not given:
        return spec
    content = json.loads(canonical_json(spec))
    for override in given:
        told = f"--set {shown(override)}"
        content = merge(content, with_current_names(_patch(override), content, told, quiet=False))
    try:
        return RunSpec.model_validate(content, context=unneeded)
    except ValidationError as error:
        raise SpecError("\n".join(f"--set: {line}" for line in describe_errors(error, RunSpec, content))) from None


def merge(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """JSON Merge Patch (RFC 7396), except that a block whose ``type`` changes is replaced whole."""
    merged = dict(base)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            same = isinstance(old, dict) and value.get("type", old.get("type")) == old.get("type")
            merged[key] = merge(old if same and old else {}, value)
        else:
            merged[key] = value
    return merged


def _read_chain(name: str, folder: Path, chain: tuple[tuple[str, Path], ...], saved: bool) -> dict[str, Any]:
    """Read a spec and everything that it extends.

    Args:
        name: of an installed spec, or a path relative to ``folder``.
        folder: where the file that asked for it lies.
        chain: names and files of the specs that led here.
        saved: see ``load_spec``.
    """
    asked = f"{chain[-1][0]}: extends: " if chain else ""
    path, told = _find(name, folder, asked), shown(name, 200)
    if len(chain) > DEEPEST:
        raise SpecError(f"{chain[0][0]}: extends {len(chain)} specs in a row; at most {DEEPEST} are read")
    if any(path == seen for _, seen in chain):
        raise SpecError("extends goes in a loop: " + " -> ".join([*(link for link, _ in chain), told]))
    content = read_json(path, SpecError, told)
    content.pop("$schema", None)
    base = content.pop("extends", None)
    if base is None:
        return with_current_names(content, {}, told, saved)
    if not isinstance(base, str):
        raise SpecError(f"{told}: extends: should be the name or path of one spec, got {shown(json.dumps(base))}")
    below = _read_chain(base, path.parent, (*chain, (told, path)), saved)
    return merge(below, with_current_names(content, below, told, saved))


def _find(name: str, folder: Path, asked: str) -> Path:
    """Find the file of an installed spec, or of a path relative to ``folder``.

    A spec may be a stranger's: what it asks for must be called a spec's file, so that it opens no others.
    """
    installed = registry()
    try:
        record = installed.find("spec", name)
    except ComponentError as error:
        path = folder / path_of(name)
        if exists(path) and (not asked or path.suffix == ".json"):
            return path.resolve()
        what = "no file that ends in .json" if asked else "no file"
        raise SpecError(f"{asked}{error}. '{shown(path, 200)}' is {what} either") from None
    return Path(installed.load(record)).resolve()


def _patch(override: str) -> dict[str, Any]:
    """``a.b=1`` as ``{"a": {"b": 1}}``."""
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    told = f"override '{shown(override)}'"
    if not equals or not all(keys):
        raise SpecError(f"{told}: should look like model.field.omega=2.0")
    if len(keys) > DEEPEST:
        raise SpecError(f"{told}: names {len(keys)} blocks within each other; specs have at most {DEEPEST}")
    patch: Any = _value(told, text)
    for key in reversed(keys):
        patch = {key: patch}
    return dict(patch)


def _value(told: str, text: str) -> Any:
    try:
        return parse(text)
    except NotJsonError as error:
        if text.lstrip()[:1] in ("{", "[", '"'):
            raise SpecError(f"{told}: column {error.column} of the value: {error.reason}") from None
        if not is_whole(text):
            raise SpecError(f"{told}: the value holds half of a character") from None
        return text
    except ValueError as error:
        raise SpecError(f"{told}: {error}") from None
