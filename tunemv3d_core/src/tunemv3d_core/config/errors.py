"""Errors in a spec in words: where, what was given, what was meant."""

import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from tunemv3d_core.errors import suggestion
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.plugins.registry import registry

MOST_LINES = 50
"""Errors of one spec that are told."""

_OWN = "tunemv3d"
"""Type of the errors that our own validators raise."""


def spec_error(message: str) -> PydanticCustomError:
    """Return an error for validators to raise; its message is shown as it stands."""
    return PydanticCustomError(_OWN, "{message}", {"message": message})


def describe_errors(error: ValidationError, model: type[BaseModel], content: Any) -> list[str]:
    """Return one line per error: "model.field.hiden: unknown. Did you mean 'hidden'?".

    Args:
        error: raised by pydantic.
        model: options that ``content`` was validated by.
        content: the resolved spec.
    """
    faults = error.errors(include_url=False)
    lines = [f"{_dotted(found['loc'])}{_described(found, model, content)}" for found in faults[:MOST_LINES]]
    return [*lines, f"and {len(faults) - MOST_LINES} more faults"] if len(faults) > MOST_LINES else lines


def _dotted(location: tuple[int | str, ...]) -> str:
    return ".".join(shown(part) for part in location) + ": " if location else ""


def _described(found: ErrorDetails, model: type[BaseModel], content: Any) -> str:
    if found["type"] == _OWN:
        return found["msg"]
    if found["type"] == "missing":
        return "missing"
    if found["type"] == "extra_forbidden":
        *parents, name = found["loc"]
        accepted = list(_model_at(parents, model, content).model_fields)
        return f"unknown.{suggestion(str(name), accepted)} Accepted: {', '.join(accepted)}"
    message = found["msg"].removeprefix("Value error, ").replace("Input should", "should")
    return f"{message}, got {shown_value(found['input'])}"


def shown_value(value: Any) -> str:
    """Return a value of a spec as messages show it: as JSON, cut."""
    given = ""
    for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
        given += piece
        if len(given) > 60:
            return shown(given[:57] + "...", 200)
    return shown(given, 200)


def _model_at(location: list[int | str], model: type[BaseModel], content: Any) -> type[BaseModel]:
    """Return the options that the block at ``location`` is validated by."""
    keys = iter(location)
    for key in keys:
        content = content[key]
        if isinstance(key, str):
            field = model.model_fields[key]
            content = content[next(keys)] if get_origin(field.annotation) is dict else content
            model = _model_of(field, content) or model
    return model


def slot_of(field: Any) -> str | None:
    """Return the slot that a field of a spec holds a component of, or several by name (``holds_several``), if any."""
    parts = [*field.metadata, *_parts(field.annotation)]
    return next((part.slot for part in parts if hasattr(part, "slot")), None)


def usual_type(field: Any) -> str:
    """Return the ``type`` that a component's block in a field has where it names none; "" where it must."""
    parts = [*field.metadata, *_parts(field.annotation)]
    return next((str(part.usual) for part in parts if hasattr(part, "usual")), "")


def holds_several(field: Any) -> bool:
    """Return whether a field holds components by names of the spec's own choice, not one component."""
    return get_origin(field.annotation) is dict and slot_of(field) is not None


def _model_of(field: Any, block: Any) -> type[BaseModel] | None:
    if slot := slot_of(field):
        return registry().get(slot, block.get("type") or usual_type(field)).plugin.spec
    parts = _parts(field.annotation)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield an annotation and everything that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)
