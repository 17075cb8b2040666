"""Choice of an evaluation's metrics: those that are asked for, or the protocol's and, with those, other people's."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, runtime_checkable
from typing import Protocol as TypingProtocol

from tunemv3d_core.config.blocks import options_of, read_block
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, SpecError, TuneMV3DError
from tunemv3d_core.io.code_hash import code_hash
from tunemv3d_core.plugins.descriptor import FIRST_PARTY
from tunemv3d_core.plugins.registry import Component, registry
from tunemv3d_core.sampling import has_surface, latent_size
from tunemv3d_core.slots import Figure, MeasuredObject, Need, ObjectMetric, SetMetric, metric_error
from tunemv3d_eval.protocols.protocol import Protocol, objects_error
from tunemv3d_eval.samples.identity import digest
from tunemv3d_eval.samples.jobs import Settings
from tunemv3d_eval.warned import ReportedWarning

OPTION = "--metric"
RESERVED = {"checkpoint", "prompt", "seed", "consistency", "control", "error", "id"}
"""Keys that a row of the report has beside the figures."""


@runtime_checkable
class JudgesByModels(TypingProtocol):
    """A metric that judges by other models than the one that is evaluated."""

    identities: Sequence[str]
    """Name and sha256 of each."""


@runtime_checkable
class ChecksPrompts(TypingProtocol):
    """A metric that can judge some prompts alone."""

    def check_prompts(self, prompts: Sequence[str]) -> str:
        """Return why some cannot be judged; "" where all can."""
        ...


@runtime_checkable
class TellsWords(TypingProtocol):
    """A metric of objects that tells more than numbers."""

    def words(self, sample: MeasuredObject) -> Mapping[str, str]:
        """Return what it tells of an object, by names that the report has no other value for."""
        ...


@dataclass(frozen=True)
class ChosenMetric:
    """A metric that is built.

    Attributes:
        name: in the report: its component's, and a number from the second one of that name on.
        component: where it comes from.
        spec: its options.
        metric: itself.
        objects: how many samples of each K it measures, from the first; None for all.
    """

    name: str
    component: Component
    spec: ComponentSpec
    metric: ObjectMetric | SetMetric
    objects: int | None = None

    @property
    def figures(self) -> dict[str, Figure]:
        """The numbers that it gives."""
        return dict(self.metric.figures)

    @property
    def of_objects(self) -> bool:
        """Whether it measures one object at a time."""
        return isinstance(self.metric, ObjectMetric)

    def description(self) -> dict[str, Any]:
        """Describe it for the report."""
        record = self.component.record
        told: dict[str, Any] = {
            "distribution": record.distribution,
            "version": record.version,
            "options": self.spec.model_dump(mode="json"),
        }
        if isinstance(self.metric, JudgesByModels):
            told["models"] = list(self.metric.identities)
        return told if self.objects is None else told | {"objects": self.objects}

    def key(self, data: Any) -> str:
        """Return what its scores are kept by: name, options, version, code, and the real objects it compares with."""
        compared = data if Need.DATASET in self.metric.needs else None
        told = self.description()
        told.pop("objects", None)
        return digest([told, code_hash(self.component), compared])


@dataclass
class Chosen:
    """The metrics of an evaluation.

    Attributes:
        metrics: those that are built, in the order of the report.
        failed: why others cannot be loaded, by name.
        skipped: why others are left out, by name.
        asked: whether they were asked for by name.
    """

    metrics: list[ChosenMetric] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    asked: bool = False


def choose_metrics(protocol: Protocol, asked: Sequence[str] = (), load: bool = True) -> Chosen:
    """Build the metrics that are asked for by name or block, or else the protocol's.

    One of the protocol's that cannot be built here, such as one whose model is not installed, is left out with the
    reason. Without ``load``, models that metrics judge by are not loaded, and faults in them are not found.

    Raises:
        ComponentError: a metric is unknown (with a suggestion), or two give a figure of the same name; one that was
            asked for cannot be built.
        SpecError: one does not take its options.
    """
    chosen = Chosen(asked=bool(asked))
    if asked:
        for word in dict.fromkeys(asked):
            built = _built(read_block(OPTION, word) or {"type": word}, chosen.metrics, load=load)
            chosen.metrics.append(_for_prompts(built, protocol))
        return chosen
    where = f"protocol {protocol.name}"
    for block in protocol.metrics:
        _component(block, where)
        try:
            chosen.metrics.append(_for_prompts(_built(block, chosen.metrics, where, load), protocol))
        except TuneMV3DError as error:
            chosen.skipped[block["type"]] = str(error)
            warnings.warn(f"metric '{block['type']}' is left out: {error}", ReportedWarning, stacklevel=2)
    named = {block["type"] for block in protocol.metrics}
    for name in _third_party(named) if protocol.third_party else ():
        try:
            chosen.metrics.append(_built({"type": name}, chosen.metrics, load=load))
        except SpecError as error:
            chosen.skipped[name] = f"has options without a default: {error}"
        except TuneMV3DError as error:
            chosen.failed[name] = str(error)
            warnings.warn(f"metric '{name}' is left out: {error}", ReportedWarning, stacklevel=2)
    return chosen


def _third_party(besides: Collection[str]) -> list[str]:
    """Names of the metrics of other distributions, but for those that the protocol names."""
    installed = registry()
    named = zip(installed.names("metric"), installed.records("metric"), strict=True)
    return [name for name, record in named if record.distribution not in FIRST_PARTY and name not in besides]


def _component(block: Mapping[str, Any], where: str) -> tuple[Component, ComponentSpec]:
    """Find the component that a block names, and check its options."""
    if error := objects_error(block):
        raise SpecError(error)
    options = {name: value for name, value in block.items() if name != "objects"}
    return registry().get("metric", block["type"]), options_of("metric", where, options)


def _built(
    block: Mapping[str, Any], others: Sequence[ChosenMetric], where: str = OPTION, load: bool = True
) -> ChosenMetric:
    name = block["type"]
    component, spec = _component(block, where)
    try:
        metric = component.load_build()(spec)
        fault = metric_error(metric)
        if load and isinstance(metric, JudgesByModels):
            tuple(metric.identities)
    except TuneMV3DError:
        raise
    except Exception as error:  # a component may fail in any way
        raise ComponentError(f"metric '{name}' cannot be built: {type(error).__name__}: {error}") from error
    if fault is not None:
        raise ComponentError(f"metric '{name}' of {component.record.distribution} {fault}")
    if taken := RESERVED & metric.figures.keys():
        raise ComponentError(f"metric '{name}' gives '{min(taken)}', which the report has a value of its own for")
    for other in others:
        if shared := other.figures.keys() & metric.figures.keys():
            raise ComponentError(
                f"metrics '{other.name}' and '{name}' both give '{min(shared)}': choose one of them by {OPTION}"
            )
    before = sum(other.component == component for other in others)
    unique = f"{name}-{before + 1}" if before else name
    return ChosenMetric(unique, component, spec, metric, block.get("objects"))


def _for_prompts(built: ChosenMetric, protocol: Protocol) -> ChosenMetric:
    """Return the metric if it can judge the protocol's prompts.

    Raises:
        SpecError: it cannot.
    """
    if isinstance(built.metric, ChecksPrompts) and (reason := built.metric.check_prompts(protocol.texts())):
        raise SpecError(f"metric '{built.name}': {reason}")
    return built


class Needs:
    """What there is of what metrics may need.

    Args:
        model: that is evaluated.
        settings: of the sampling.
        no_data: why there are no real objects; "" where there are some.
    """

    def __init__(self, model: MultiviewDiffusion, settings: Settings, no_data: str) -> None:
        self._model, self._settings, self._no_data = model, settings, no_data
        self._surface: bool | None = None

    def lacking(self, metric: ObjectMetric | SetMetric, records: bool) -> str:
        """Say what a metric needs that is not there; "" where nothing is missing.

        Args:
            metric: the metric.
            records: whether the objects stand in a dataset.
        """
        ports = None if self._model.field is None else self._model.field.ports
        missing = {
            Need.FIELD: "the model has no field" if ports is None else "",
            Need.RENDERS: "" if ports is not None and ports.gives == "latents" else "no field gives latents to decode",
            Need.NOVEL_VIEWS: ""
            if ports is not None and ports.novel_views
            else "no field renders cameras it did not see",
            Need.RECORD: "" if records else "objects sampled from prompts have no record in a dataset",
            Need.DATASET: self._no_data,
        }
        if reason := next((missing[need] for need in missing if need in metric.needs and missing[need]), ""):
            return reason
        return "no field has a surface" if Need.SURFACE in metric.needs and not self._has_surface() else ""

    def _has_surface(self) -> bool:
        """Find out once, because it takes a step of the field."""
        if self._surface is None:
            ports = self._model.backbone.ports
            cameras = self._settings.cameras(ports)[None].to(self._model.device)
            size = latent_size(ports, self._settings.options.size)
            self._surface = self._model.field is not None and has_surface(self._model, cameras, size)
        return self._surface
