"""Choice of an evaluation's metrics: those that are asked for, or all that are installed."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import ComponentError, SpecError, TuneMV3DError, TuneMV3DWarning
from tunemv3d_core.plugins.descriptor import FIRST_PARTY
from tunemv3d_core.plugins.discovery import EntryPointRecord
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import Figure, Need, ObjectMetric, SetMetric, metric_error
from tunemv3d_eval.options import options_of, read_block

OPTION = "--metric"
RESERVED = {"prompt", "seed", "consistency", "seconds", "id", "caption"}
"""Keys that a report has beside the figures."""


@dataclass(frozen=True)
class ChosenMetric:
    """A metric that is built.

    Attributes:
        name: as it is asked for.
        record: where it comes from.
        spec: its options.
        metric: itself.
    """

    name: str
    record: EntryPointRecord
    spec: ComponentSpec
    metric: ObjectMetric | SetMetric

    @property
    def figures(self) -> dict[str, Figure]:
        """The numbers that it gives."""
        return dict(self.metric.figures)

    def description(self) -> dict[str, Any]:
        """Describe it for the report; a range's open end is None."""
        return {
            "distribution": self.record.distribution,
            "version": self.record.version,
            "options": self.spec.model_dump(mode="json"),
            "figures": {
                name: {
                    "higher_is_better": figure.higher_is_better,
                    "range": [limit if isfinite(limit) else None for limit in (figure.low, figure.high)],
                }
                for name, figure in self.figures.items()
            },
        }


@dataclass(frozen=True)
class Chosen:
    """The metrics of an evaluation.

    Attributes:
        metrics: those that are built, in the order of the report.
        failed: why others that are installed cannot be, by name.
        skipped: why others that are installed are left out, by name.
    """

    metrics: list[ChosenMetric]
    failed: dict[str, str]
    skipped: dict[str, str]


def choose_metrics(asked: Sequence[str]) -> Chosen:
    """Build the metrics that are asked for by name or block, or else all that are installed, ours first.

    Raises:
        ComponentError: one that was asked for is unknown (with a suggestion), is broken, or gives a figure of the same
            name as another.
        SpecError: one that was asked for does not take its options.
    """
    metrics: list[ChosenMetric] = []
    if asked:
        for word in dict.fromkeys(asked):
            metrics.append(_built(word, metrics))
        return Chosen(metrics, {}, {})
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for name in _installed():
        try:
            metrics.append(_built(name, metrics))
        except SpecError as error:
            skipped[name] = f"has options without a default: {error}"
        except TuneMV3DError as error:
            failed[name] = str(error)
            warnings.warn(f"metric '{name}' is left out: {error}", TuneMV3DWarning, stacklevel=2)
    return Chosen(metrics, failed, skipped)


def _installed() -> list[str]:
    """Names of all that may be used, the project's own first, so that nobody can take a figure's name from them."""
    installed = registry()
    named = zip(installed.names("metric"), installed.records("metric"), strict=True)
    return [name for name, _ in sorted(named, key=lambda pair: pair[1].distribution not in FIRST_PARTY)]


def _built(word: str, others: Iterable[ChosenMetric]) -> ChosenMetric:
    block = read_block(OPTION, word) or {"type": word}
    name = block["type"]
    component = registry().get("metric", name)
    spec = options_of("metric", OPTION, block)
    try:
        metric = component.load_build()(spec)
        fault = metric_error(metric)
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
    return ChosenMetric(name, component.record, spec, metric)


def lacking(metric: ObjectMetric | SetMetric, model: MultiviewDiffusion, records: bool) -> str:
    """Say what a metric needs that is not there; "" where nothing is missing.

    Args:
        metric: the metric.
        model: the model that is evaluated.
        records: whether the objects stand in a dataset.
    """
    ports = None if model.field is None else model.field.ports
    missing = {
        Need.FIELD: "the model has no field" if ports is None else "",
        Need.RENDERS: "" if ports is not None and ports.gives == "latents" else "no field gives latents to decode",
        Need.NOVEL_VIEWS: "" if ports is not None and ports.novel_views else "no field renders cameras it did not see",
        Need.RECORD: "" if records else "objects sampled from prompts have no record in a dataset",
    }
    return next((reason for need in Need if need in metric.needs and (reason := missing[need])), "")
