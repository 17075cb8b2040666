"""Descriptors for the tests of the kit; light, as descriptors should be."""

from pathlib import Path
from random import randrange
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from tunemv3d_core.config.component_spec import ComponentSpec, LossTermSpec
from tunemv3d_core.plugins.descriptor import ComponentPlugin


class Options(ComponentSpec):
    """Which part is built."""

    slot: str = "view_encoder"
    """The slot."""
    part: str = "ViewEncoder"
    """A class of ``kit_parts``."""


class LossOptions(LossTermSpec, Options):
    """Which loss is built."""


class DatasetOptions(Options):
    """Which dataset is opened."""

    slot: str = "dataset"
    """The slot."""
    part: str = "Balls"
    """A class of ``kit_datasets``."""


class Changeable(Options):
    model_config = ConfigDict(frozen=False)


class Open(Options):
    model_config = ConfigDict(extra="allow")


class Silent(Options):
    width: int = 4


class SilentDataset(DatasetOptions):
    width: int = 4


class Drifting(Options):
    width: int = 4
    """Grows whenever it is read."""

    @model_validator(mode="after")
    def _grow(self) -> Self:
        object.__setattr__(self, "width", self.width + 1)
        return self


class Dicing(Options):
    width: int = Field(default_factory=lambda: randrange(2**31))
    """Another one whenever it is made."""


def plugin(name: str, slot: str = "view_encoder", api: str = "1.0", spec: type[Options] = Options) -> ComponentPlugin:
    return ComponentPlugin(slot, name, api, spec, "kit_parts:build", "A component for tests")


GOOD_BACKBONE = plugin("good", "backbone")
GOOD_VIEW_ENCODER = plugin("good")
GOOD_FIELD = plugin("good", "field")
GOOD_LIFTER = plugin("good", "lifter")
GOOD_INJECTOR = plugin("good", "injector")
GOOD_AGGREGATOR = plugin("good", "aggregator")
GOOD_LOSS = plugin("good", "loss", spec=LossOptions)
GOOD_MESHER = plugin("good", "mesher")
GOOD_MESH_RENDERER = plugin("good", "mesh_renderer")
GOOD_METRIC = plugin("good", "metric")
GOOD_OPTIMIZER = plugin("good", "optimizer")
GOOD_SCHEDULE = plugin("good", "schedule")
GOOD_DATASET = plugin("good", "dataset", spec=DatasetOptions)
MISNAMED = plugin("other")
FROM_TOMORROW = plugin("from-tomorrow", api="2.0")
CHANGEABLE = plugin("changeable", spec=Changeable)
OPEN = plugin("open", spec=Open)
SILENT = plugin("silent", spec=Silent)
DRIFTING = plugin("drifting", spec=Drifting)
DICING = plugin("dicing", spec=Dicing)
SILENT_DATASET = plugin("silent", "dataset", spec=SilentDataset)
PICTURE = Path("picture.png")
