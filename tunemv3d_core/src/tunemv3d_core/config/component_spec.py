"""The base of every component's options. Imports nothing else of the project."""

from pydantic import BaseModel, ConfigDict


class ComponentSpec(BaseModel):
    """Base of every component's options: frozen, closed, every field described by the string below it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    type: str
    """Name of the component, as ``tunemv3d plugins list`` shows it."""


class UnreadSpec(ComponentSpec):
    """Options of a component that is neither installed nor needed, kept as they are."""

    model_config = ConfigDict(extra="allow")
