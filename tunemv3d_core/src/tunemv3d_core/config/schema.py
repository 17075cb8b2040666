"""JSON Schema of the installed components: for editors, and for describing a component's options."""

from typing import Any

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.config.run_spec import RunSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def spec_schema() -> dict[str, Any]:
    """Return the schema of a spec file, whose component blocks are unions discriminated by ``type``.

    A file may leave out what the spec that it extends already says, so with ``extends`` nothing is required.
    """
    schema = RunSpec.model_json_schema()
    required = schema.pop("required")
    schema["properties"] = {
        "$schema": {"type": "string", "description": "For editors; ignored."},
        "extends": {"type": "string", "description": "Name or path of the spec that this one is merged over."},
        **schema["properties"],
    }
    return {"$schema": DIALECT, **schema, "if": {"not": {"required": ["extends"]}}, "then": {"required": required}}


def options_of(spec: type[ComponentSpec]) -> dict[str, dict[str, Any]]:
    """Return a component's options except ``type``, by name: JSON Schema of each, and whether it is required."""
    schema = spec.model_json_schema()
    required = schema.get("required", [])
    return {
        name: _inlined(option, schema.get("$defs", {})) | {"required": name in required}
        for name, option in schema["properties"].items()
        if name != "type"
    }


def describe_type(option: dict[str, Any]) -> str:
    """Describe an option's type and bounds: ``integer >= 1``, ``"lora" | "all"``, ``[{path, scale}, ...]``."""
    if "enum" in option:
        return " | ".join(f'"{value}"' for value in option["enum"])
    if "const" in option:
        return f'"{option["const"]}"'
    if "oneOf" in option:
        return " | ".join(choice["properties"]["type"]["const"] for choice in option["oneOf"])
    if "anyOf" in option:
        return " | ".join(describe_type(choice) for choice in option["anyOf"])
    if "properties" in option:
        return "{" + ", ".join(option["properties"]) + "}"
    if option.get("type") == "array" and "prefixItems" in option:
        return "[" + ", ".join(describe_type(item) for item in option["prefixItems"]) + "]"
    if option.get("type") == "array":
        return f"[{describe_type(option.get('items', {}))}, ...]"
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {option[key]}" for key, sign in signs.items() if key in option]
    return " ".join([option.get("type", "any"), *bounds])


def _inlined(option: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Replace references in an option, and in a list's items, by the blocks that they refer to."""
    own = {key: value for key, value in option.items() if key != "$ref"}
    whole = definitions[option["$ref"].removeprefix("#/$defs/")] | own if "$ref" in option else own
    items = whole.get("items")
    return whole | {"items": _inlined(items, definitions)} if isinstance(items, dict) else whole
