"""Names that options and layers had before: specs, weights and runs that use them are read, new ones are written.

A component declares its own in ``ComponentSpec.old_options`` and ``ComponentSpec.old_tensors``.
"""

import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.errors import holds_several, slot_of, usual_type
from tunemv3d_core.config.run_spec import LossSpec, ModelSpec, OptimizerSpec, PartSpec, RunSpec
from tunemv3d_core.errors import ComponentError, SpecError, TuneMV3DWarning
from tunemv3d_core.plugins.registry import registry

SCENE_LOSSES = ("eikonal", "sparsity")
"""Losses of a scene whose weights stood beside our own, as ``loss.eikonal``; now they are ``loss.scene.eikonal``."""

ADAMW_OPTIONS = ("betas", "eps")
"""Options of AdamW that stood in ``optimizer`` itself; now they are those of ``optimizer.algorithm``."""

Parts = list[tuple[str, type[ComponentSpec]]]
"""Places of components in a model, such as "field.aggregator", and their options."""


def with_current_names(content: dict[str, Any], base: dict[str, Any], where: str, quiet: bool) -> dict[str, Any]:
    """Replace the old names in a spec's file.

    Args:
        content: of the file, or of an override.
        base: spec that it is merged over, which has the types of components that it leaves out.
        where: the file, for messages.
        quiet: whether to rename without a warning, as in specs that a run saved.

    Raises:
        SpecError: an option is given by its old and by its new name.
    """
    content = deepcopy(content)
    renamed = _move_scene_losses(content.get("loss"), f"{where}: loss.")
    if isinstance(optimizer := content.get("optimizer"), dict):
        renamed += _move_optimizer_options(optimizer, f"{where}: optimizer.")
    parts: Parts = []
    for path, block, options in _blocks(content, base):
        parts.append((path.removeprefix("model."), options))
        for old in [name for name in block if name in options.old_options]:
            renamed.append(_rename(block, old, options.old_options[old], f"{where}: {path}."))
    learning = _inner(_inner(content, "optimizer"), "parts")
    for old in list(learning) if isinstance(learning, dict) else ():
        if (new := _current_tensor(old, parts)) != old:
            renamed.append(_rename(learning, old, new, f"{where}: optimizer.parts."))
    for line in () if quiet else renamed:
        warnings.warn(line, TuneMV3DWarning, stacklevel=2)
    return content


def current_tensor_names(components: Mapping[str, ComponentSpec], names: Iterable[str]) -> dict[str, str]:
    """Map tensors' names, in whichever version they were saved, to the model's own of today.

    Args:
        components: options by place, such as "field.aggregator" (``MultiviewDiffusion.components``).
        names: of tensors, below the places.
    """
    parts = [(place, type(options)) for place, options in components.items()]
    return {name: _current_tensor(name, parts) for name in names}


def _current_tensor(name: str, parts: Parts) -> str:
    """Rename by the options of the innermost component that a tensor lies in."""
    around = [(place, options) for place, options in parts if name.startswith(place + ".")]
    if not around:
        return name
    place, options = max(around, key=lambda part: len(part[0]))
    own = name.removeprefix(place)
    for old, new in options.old_tensors.items():
        own = re.sub(old, new, own)
    return place + own


def _blocks(content: Any, base: Any) -> Iterator[tuple[str, dict[str, Any], type[ComponentSpec]]]:
    """Yield the components' blocks of a spec's content: path, block and the options that it is validated by."""
    yield from _blocks_of(RunSpec, "", content, base)
    yield from _blocks_of(ModelSpec, "model.", _inner(content, "model"), _inner(base, "model"))
    yield from _blocks_of(LossSpec, "loss.", _inner(content, "loss"), _inner(base, "loss"))
    ours, theirs = _inner(content, "optimizer"), _inner(base, "optimizer")
    yield from _blocks_of(OptimizerSpec, "optimizer.", ours, theirs)
    learning = _inner(ours, "parts")
    for name, part in learning.items() if isinstance(learning, dict) else ():
        yield from _blocks_of(PartSpec, f"optimizer.parts.{name}.", part, _inner(_inner(theirs, "parts"), name))


def _blocks_of(
    model: type[Any], path: str, content: Any, base: Any
) -> Iterator[tuple[str, dict[str, Any], type[ComponentSpec]]]:
    for name, field in model.model_fields.items():
        slot, block, below = slot_of(field), _inner(content, name), _inner(base, name)
        if slot is None or not isinstance(block, dict):
            continue
        if holds_several(field):
            for key, each in block.items():
                yield from _component(slot, f"{path}{name}.{key}", each, _inner(below, key))
        else:
            yield from _component(slot, f"{path}{name}", block, below, usual_type(field))


def _component(
    slot: str, path: str, block: Any, below: Any, usual: str = ""
) -> Iterator[tuple[str, dict[str, Any], type[ComponentSpec]]]:
    kind = _inner(block, "type") or _inner(below, "type") or usual
    try:
        options = registry().get(slot, kind).plugin.spec if isinstance(kind, str) and kind else None
    except ComponentError:  # reported where the spec is validated
        return
    if options is not None and isinstance(block, dict):
        yield path, block, options
        yield from _blocks_of(options, f"{path}.", block, below)


def _inner(content: Any, name: str) -> Any:
    return content.get(name) if isinstance(content, dict) else None


def _move_scene_losses(block: Any, path: str) -> list[str]:
    """Move the weights of a scene's losses from ``loss`` into ``loss.scene``; anything but a block is left as it is."""
    old = [name for name in SCENE_LOSSES if isinstance(block, dict) and name in block]
    if not old:
        return []
    scene = block.setdefault("scene", {})
    if not isinstance(scene, dict) or any(name in scene for name in old):
        raise SpecError(f"{path}{old[0]}: is now 'scene.{old[0]}', and 'scene' is given too; write all weights there")
    scene.update({name: block.pop(name) for name in old})
    return [f"{path}{name} is now called 'scene.{name}': write that in new specs" for name in old]


def _move_optimizer_options(block: dict[str, Any], path: str) -> list[str]:
    """Move ``lr_scale`` into ``parts``, AdamW's own options into ``algorithm``, and write a schedule as a block."""
    told = []
    if isinstance(block.get("schedule"), str):
        block["schedule"] = {"type": block["schedule"]}
        told.append(f"{path}schedule is now a block: write {json.dumps(block['schedule'])} in new specs")
    for name in [name for name in ADAMW_OPTIONS if name in block]:
        block.setdefault("algorithm", {"type": "adamw"})
        told.append(_move(block, name, block.pop(name), ("algorithm", name), path))
    scales = block.pop("lr_scale", {})
    if not scales:  # a null takes away those of the spec that this one extends
        return [*told, *([_move(block, "lr_scale", None, ("parts",), path)] if scales is None else [])]
    for name, scale in scales.items() if isinstance(scales, dict) else [("*", scales)]:
        place = ("parts", name) if scale is None else ("parts", name, "lr_scale")
        told.append(_move(block, f"lr_scale.{name}", scale, place, path))
    return told


def _move(block: dict[str, Any], old: str, value: Any, place: tuple[str, ...], path: str) -> str:
    """Put an option of a former name where it belongs today, and tell it."""
    *around, name = place
    inner: Any = block
    for key in around:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else None
    new = ".".join(place)
    if not isinstance(inner, dict) or name in inner:
        raise SpecError(f"{path}{old}: is now '{new}', which is given too; leave out '{old}'")
    inner[name] = value
    return f"{path}{old} is now called '{new}': write that in new specs"


def _rename(block: dict[str, Any], old: str, new: str, path: str) -> str:
    if new in block:
        raise SpecError(f"{path}{old}: is the old name of '{new}', which is given too; leave out '{old}'")
    block[new] = block.pop(old)
    return f"{path}{old} is now called '{new}': write that in new specs"
