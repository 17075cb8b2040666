"""The base of every component's options. Imports nothing else of the project."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field


class ComponentSpec(BaseModel):
    """Base of every component's options: frozen, closed, every field described by the string below it.

    Attributes:
        old_options: options by the names that they had before. Specs that still use one are read with a warning.
        old_tensors: parts of the component's tensors' names that were renamed, a regular expression to its
            replacement, so that weights and runs of before load.
        pretrained_options: options that belong to what ``pretrained`` names (``HasPretrained``), such as its revision.
            They are reset where another model is put in its place.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    old_options: ClassVar[Mapping[str, str]] = {}
    old_tensors: ClassVar[Mapping[str, str]] = {}
    pretrained_options: ClassVar[tuple[str, ...]] = ()

    type: str
    """Name of the component, as ``tunemv3d plugins list`` shows it."""


class LossTermSpec(ComponentSpec):
    """Base of the options of components for the slot ``loss``."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Factor on the mean over all views; 0 reports the loss and does not train on it."""


@runtime_checkable
class HasPretrained(Protocol):
    """Options of a backbone that is made from published weights. Optional; model cards name them as the base model."""

    @property
    def pretrained(self) -> str:
        """Name, path or hub id of the weights."""
        ...


class UnreadSpec(ComponentSpec):
    """Options of a component that is neither installed nor needed, kept as they are."""

    model_config = ConfigDict(extra="allow")
