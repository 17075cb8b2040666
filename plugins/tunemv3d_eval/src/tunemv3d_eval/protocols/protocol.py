"""The protocol of an evaluation: prompts, seeds, cameras, strengths K and metrics, under a name and a version."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from tunemv3d_core.config.errors import describe_errors, spec_error
from tunemv3d_core.consistency import Consistency, check_consistency
from tunemv3d_core.errors import SpecError, TuneMV3DError, suggestion
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.io.prompts import read_prompts

FOLDER = Path(__file__).parent
PROMPTS = FOLDER / "prompts"

Count = Annotated[int, Field(ge=1)]
Model = TypeVar("Model", bound=BaseModel)


class Protocol(BaseModel):
    """What an evaluation samples and measures. Two evaluations by one protocol can be compared."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    name: str
    """Name under which reports quote it."""
    version: Count = 1
    """Rises whenever figures would change."""
    summary: str
    """What it asks, one line."""
    prompts: str
    """A packaged list, such as "chairs-20", or a text file, one prompt a line."""
    seeds: Count = 1
    """Samples of each prompt, each from its own noise."""
    views: Annotated[int, Field(ge=2)] = 8
    """Cameras, evenly around the object."""
    elevation: float = 20.0
    """Of the cameras, degrees above the horizon."""
    consistency: tuple[Consistency, ...] | None = None
    """Values or schedules of K; None: 0, 1 and the checkpoint's own."""
    steps: Count | None = None
    """Denoising steps; None: the checkpoint's."""
    guidance: Annotated[float, Field(ge=0)] | None = None
    """Guidance scale; None: the checkpoint's."""
    scheduler: str | None = None
    """Scheduler, such as "ddim"; None: the checkpoint's."""
    real: bool = False
    """Measure held-out objects of the checkpoint's dataset too, as the ceiling."""
    controls: bool = False
    """Measure real objects, one view repeated, views of shuffled objects and noise beside the samples."""
    metrics: tuple[dict[str, Any], ...]
    """The metrics: {"type": name} with their options. "objects": N measures the first N samples of each K alone."""
    third_party: bool = False
    """Whether installed metrics of other distributions run too."""

    @field_validator("consistency")
    @classmethod
    def _are_strengths(cls, given: tuple[Consistency, ...] | None) -> tuple[Consistency, ...] | None:
        try:
            for k in given or ():
                check_consistency(k)
        except TuneMV3DError as error:
            raise spec_error(str(error)) from None
        return None if given is None else tuple(dict.fromkeys(given))

    @field_validator("metrics")
    @classmethod
    def _are_blocks(cls, given: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for block in given:
            if not isinstance(block.get("type"), str):
                raise spec_error('every metric should be a block {"type": name, ...}')
            if error := objects_error(block):
                raise spec_error(error)
        return given

    def changed(self, **given: Any) -> tuple[Self, list[str]]:
        """Return the protocol with the given fields in place of its own, and the names of those that differ.

        Raises:
            SpecError: a value that the field does not take; the message names it.
        """
        values = {name: value for name, value in given.items() if value is not None}
        other = validated(type(self), {**self.model_dump(), **values}, "")
        return other, sorted(name for name in values if getattr(other, name) != getattr(self, name))

    def texts(self) -> list[str]:
        """Read the prompts.

        Raises:
            TuneMV3DError: no such list and no such file, or one without a prompt.
        """
        packaged = PROMPTS / f"{self.prompts}.txt"
        if not packaged.is_file() and not Path(self.prompts).is_file():
            known = [file.stem for file in sorted(PROMPTS.glob("*.txt"))]
            raise TuneMV3DError(
                f"--prompts {self.prompts}: no such file, and no packaged list."
                f"{suggestion(self.prompts, known)} Packaged: {', '.join(known)}"
            )
        found = read_prompts(packaged if packaged.is_file() else Path(self.prompts))
        if not found:
            raise TuneMV3DError(f"--prompts {self.prompts}: holds no prompt; write one a line")
        return found


def objects_error(block: Mapping[str, Any]) -> str:
    """Return what is wrong with ``"objects"`` of a metric's entry; "" where nothing is."""
    objects = block.get("objects", 1)
    if isinstance(objects, int) and not isinstance(objects, bool) and objects >= 1:
        return ""
    return f"metric '{block['type']}': \"objects\" should be how many to measure, got {objects!r:.40}"


def packaged() -> list[str]:
    """Return the names of the packaged protocols."""
    return sorted(file.stem for file in FOLDER.glob("*.json"))


def load_protocol(name: str) -> Protocol:
    """Load a packaged protocol by its name, or one from a JSON file, beside which its prompts may lie.

    Raises:
        TuneMV3DError: no such protocol, with a suggestion, or a file that cannot be read.
        SpecError: a field that is unknown, missing or invalid; one line for each.
    """
    if name in packaged():
        return validated(Protocol, read_json(FOLDER / f"{name}.json"), f"protocol {name}: ")
    file = Path(name)
    if not file.is_file():
        raise TuneMV3DError(
            f"--protocol {name}: no such protocol and no such file.{suggestion(name, packaged())} "
            f"Packaged: {', '.join(packaged())}"
        )
    content = read_json(file)
    beside = file.parent / str(content.get("prompts"))
    if beside.is_file():
        content["prompts"] = str(beside)
    return validated(Protocol, content, f"{file}: ")


def validated(model: type[Model], content: dict[str, Any], where: str) -> Model:
    """Validate content, and say in words what is wrong with it.

    Raises:
        SpecError: one line for each fault.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = describe_errors(error, model, content)
        raise SpecError("\n".join(f"{where}{line}" for line in lines)) from None
