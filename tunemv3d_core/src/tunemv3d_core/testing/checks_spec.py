"""Checks of a component's options, which make a spec a reliable record of a run."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import ComponentUnderTest


def check_spec_frozen(component: ComponentUnderTest) -> None:
    """Its options are frozen."""
    for model in models(component.plugin.spec):
        if not model.model_config.get("frozen"):
            raise ConformanceError(f"{model.__name__} is not frozen: derive it from ComponentSpec or Block")
    try:
        component.spec.type = "other"
    except ValidationError:
        return
    raise ConformanceError("'type' could be assigned a value: derive the options from ComponentSpec")


def check_spec_closed(component: ComponentUnderTest) -> None:
    """An unknown option is refused."""
    for model in models(component.plugin.spec):
        if model.model_config.get("extra") != "forbid":
            raise ConformanceError(f"{model.__name__} does not forbid extras: derive it from ComponentSpec or Block")
    try:
        component.plugin.spec.model_validate({**component.spec.model_dump(), "no_such_option": 1})
    except ValidationError:
        return
    raise ConformanceError("the unknown option 'no_such_option' was accepted")


def check_spec_described(component: ComponentUnderTest) -> None:
    """Every option has a description: the string below it."""
    bare = [
        f"{model.__name__}.{name}"
        for model in models(component.plugin.spec)
        for name, field in model.model_fields.items()
        if not field.description
    ]
    if bare:
        raise ConformanceError(f"no description of {', '.join(bare)}: write a string below each, with its unit")


def check_spec_round_trip(component: ComponentUnderTest) -> None:
    """Its options with all defaults survive JSON, have a JSON Schema, and are equal when created twice."""
    spec = component.spec
    made_again = type(spec).model_validate({"type": spec.type, **component.given})
    if made_again != spec:
        raise ConformanceError(
            f"defaults change between two creations, {spec!r} and {made_again!r}: defaults must be constants"
        )
    text = json.dumps(spec.model_dump(mode="json"), allow_nan=False)
    again = type(spec).model_validate(json.loads(text))
    if again != spec:
        raise ConformanceError(f"{spec!r} comes back from JSON as {again!r}")
    type(spec).model_json_schema()


def models(spec: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield a model and those nested in its fields once each, except blocks of other components."""
    seen: list[type[BaseModel]] = []

    def visit(annotation: Any) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
            seen.append(annotation)
            for field in annotation.model_fields.values():
                visit(field.annotation)
        for inner in get_args(annotation):
            visit(inner)

    visit(spec)
    yield from seen


CHECKS = (check_spec_frozen, check_spec_closed, check_spec_described, check_spec_round_trip)
