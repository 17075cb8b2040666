"""Fields of a spec that hold the options of any component of a slot; its ``type`` names the component."""

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PydanticUserError,
    SerializeAsAny,
    ValidationInfo,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from tunemv3d_core.config.component_spec import ComponentSpec, UnreadSpec
from tunemv3d_core.config.errors import slot_of, spec_error
from tunemv3d_core.errors import ComponentError, TuneMV3DWarning
from tunemv3d_core.plugins.registry import registry


@dataclass(frozen=True)
class InSlot:
    """Annotation of a field that holds the options of any component of a slot; ``type`` names the component.

    Attributes:
        slot: the component's.
        usual: the ``type`` of a block that names none; "" where it must.
    """

    slot: str
    usual: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Choose the component before pydantic looks at the block."""
        return core_schema.with_info_before_validator_function(self._resolve, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the union of all installed components of the slot that load, discriminated by ``type``."""
        installed, choices = registry(), []
        for name in installed.names(self.slot):
            try:
                options = installed.get(self.slot, name).plugin.spec
                choice = dict(handler.resolve_ref_schema(handler(options.__pydantic_core_schema__)))
            except (ComponentError, PydanticUserError) as error:  # options that JSON cannot hold cost only themselves
                warnings.warn(f"left out: {error}", TuneMV3DWarning, stacklevel=2)
                continue
            described = choice["properties"]["type"].get("description", "")
            choice["properties"] = choice["properties"] | {"type": {"const": name, "description": described}}
            if name == self.usual:
                choice["required"] = [option for option in choice["required"] if option != "type"]
            choices.append(choice)
        return {"oneOf": choices} if choices else {"type": "object", "required": ["type"]}

    def _resolve(self, block: Any, info: ValidationInfo[tuple[str, ...] | None]) -> Any:
        if isinstance(block, ComponentSpec):
            return block
        if not isinstance(block, dict):
            raise spec_error(f'should be a block {{"type": name, ...}}, got {json.dumps(block, default=str)}')
        if self.usual and "type" not in block:
            block = {"type": self.usual, **block}
        if not isinstance(block.get("type"), str):
            raise spec_error(f"'type' is missing; installed: {', '.join(registry().names(self.slot))}")
        try:
            plugin = registry().get(self.slot, block["type"]).plugin
        except ComponentError as error:
            if self.slot in (info.context or ()):
                return UnreadSpec(**block)
            raise spec_error(str(error)) from None
        if plugin.renamed_to:
            # The block keeps the name that it was written with, and so the spec its id.
            renamed = f"the {self.slot} '{plugin.name}' is now called '{plugin.renamed_to}': write that in new specs"
            warnings.warn(renamed, TuneMV3DWarning, stacklevel=2)
        return plugin.spec.model_validate(block, context=info.context)


BackboneSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("backbone")]
ViewEncoderSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("view_encoder")]
FieldSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("field")]
AggregatorSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("aggregator")]
LifterSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("lifter")]
InjectorSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("injector")]
DatasetSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("dataset")]
LossTerms = dict[str, Annotated[SerializeAsAny[ComponentSpec], InSlot("loss")]]
AlgorithmSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("optimizer", usual="adamw")]
ScheduleSpec = Annotated[SerializeAsAny[ComponentSpec], InSlot("schedule", usual="constant")]


def parts_of(block: BaseModel, place: str = "") -> Iterator[tuple[str, str, ComponentSpec]]:
    """Walk the components below a block, nested ones too: place ("field.aggregator"), slot and options."""
    for name, field in type(block).model_fields.items():
        value, slot = getattr(block, name), slot_of(field)
        named = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        for path, part in named.items():
            if isinstance(part, ComponentSpec) and slot:
                yield f"{place}{path}", slot, part
            if isinstance(part, BaseModel):
                yield from parts_of(part, f"{place}{path}.")
