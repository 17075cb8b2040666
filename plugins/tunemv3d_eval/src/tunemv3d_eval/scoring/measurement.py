"""The chosen metrics at work on objects; what was measured before is read, what fails is told and counts as worst."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import Any

import torch

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.slots import ComparesWithReal, Figure, MeasuredObject, ObjectMetric, SetMetric, figures_error
from tunemv3d_eval.lines import Lines
from tunemv3d_eval.samples.identity import digest
from tunemv3d_eval.scoring.chosen import Chosen, ChosenMetric, Needs, TellsWords
from tunemv3d_eval.scoring.real import Data
from tunemv3d_eval.warned import ReportedWarning

Figures = dict[str, float | None]
"""Figures by name; None where one does not apply (no novel views, no colour named)."""


@dataclass(frozen=True)
class Place:
    """An object among those that are measured alike.

    Attributes:
        key: what its scores are kept by: the hash of its file, or of what it was made from.
        where: what messages call it.
        position: among those of its K, from 0.
        record: whether it stands in a dataset.
    """

    key: str
    where: str
    position: int = 0
    record: bool = False


@dataclass(frozen=True)
class Answer:
    """What the metrics say of an object.

    Attributes:
        figures: by name.
        error: what went wrong; "" where nothing did.
        failed: names of figures that are the worst value because of that.
        words: what is told beside the figures, by name.
    """

    figures: Figures
    error: str = ""
    failed: frozenset[str] = frozenset()
    words: Mapping[str, str] = field(default_factory=dict)


class Measurement:
    """The metrics on one checkpoint's objects.

    Args:
        chosen: the metrics.
        model: that is evaluated.
        needs: what there is of what they need.
        scores: kept from before; new ones are added as they come.
        data: real objects that metrics compare with.

    Attributes:
        skipped: why a metric measures nothing, by its name.
        failed: where a metric failed and why, by its name.
        answered: names of metrics that gave their figures of some object.
        seconds: that each metric took, by its name.
    """

    def __init__(
        self, chosen: Chosen, model: MultiviewDiffusion, needs: Needs, scores: Lines, data: Data | None
    ) -> None:
        self.skipped = dict(chosen.skipped)
        self.failed = {name: [{"where": "loading", "error": error}] for name, error in chosen.failed.items()}
        self.answered: set[str] = set()
        self.seconds: dict[str, float] = {}
        self._chosen, self._model, self._scores, self._data = chosen, model, scores, data
        self._keys = {each.name: each.key(data and data.block) for each in chosen.metrics}
        self._errors: dict[str, str] = {}
        self._unmet = {(each.name, r): needs.lacking(each.metric, r) for each in chosen.metrics for r in (False, True)}
        for each in chosen.metrics:
            if reason := self._unmet[each.name, False]:
                self.skipped[each.name] = reason
        self._ready: set[str] = set()

    def lacks(self, place: Place) -> bool:
        """Tell whether a metric of objects has not measured an object yet."""
        return any(self._scores.get(self._key(each, place)) is None for each in self._of_objects(place))

    def measure(self, sample: MeasuredObject, place: Place, alone: bool = True) -> None:
        """Measure an object by all metrics that have not yet.

        Raises:
            torch.OutOfMemoryError: there was not enough memory, and the object is not ``alone`` in it.
        """
        for each in self._of_objects(place):
            metric = each.metric
            if self._scores.get(self._key(each, place)) is None and isinstance(metric, ObjectMetric):
                words = partial(metric.words, sample) if isinstance(metric, TellsWords) else dict
                self._ask(each, partial(metric.measure, sample, self._model), place, alone, words)

    def answer(self, place: Place, error: str = "") -> "Answer":
        """Return an object's figures.

        Args:
            place: the object.
            error: why it could not even be sampled; all its figures are the worst then.
        """
        figures, errors = self.nothing(), [error] if error else []
        words: dict[str, str] = {}
        failed: set[str] = set()
        for each in self._of_objects(place):
            key = self._key(each, place)
            score = self._scores.get(key)
            if score is not None and not error:
                self.answered.add(each.name)
                figures |= score["figures"]
                words |= score.get("words", {})
            elif error or key in self._errors:
                figures |= {name: worst(figure) for name, figure in each.figures.items()}
                failed |= each.figures.keys()
                errors += [] if error else [f"{each.name}: {self._errors[key]}"]
        return Answer(figures, "; ".join(errors), frozenset(failed), words)

    def nothing(self) -> Figures:
        """Return all figures of objects, none with a value."""
        return {name: None for each in self._chosen.metrics if each.of_objects for name in each.figures}

    def sets(self, keys: Sequence[str], where: str, record: bool = False) -> "list[SetTask]":
        """Return the metrics of sets with the objects that they measure.

        Args:
            keys: of all objects, in order.
            where: what messages call them.
            record: whether they stand in a dataset.
        """
        found = []
        for each in self._chosen.metrics:
            if keys and not each.of_objects and not self._unmet[each.name, record]:
                own = keys[: each.objects]
                found.append(SetTask(each, len(own), Place(digest(sorted(own)), where)))
        return found

    def asked_of_sets(self, tasks: "Sequence[SetTask]") -> int:
        """Return how many objects, from the first, the sets need that have not been measured yet."""
        return max((t.objects for t in tasks if self._scores.get(self._key(t.metric, t.place)) is None), default=0)

    def of_set(self, task: "SetTask", samples: Sequence[MeasuredObject]) -> Figures:
        """Measure a set of objects, whose tensors lie on the CPU, or return what was measured before."""
        each, key = task.metric, self._key(task.metric, task.place)
        if self._scores.get(key) is None and isinstance(each.metric, SetMetric):
            self._ask(each, partial(each.metric.measure_set, samples, self._model), task.place, True)
        if (score := self._scores.get(key)) is None:
            return dict.fromkeys(each.figures)
        self.answered.add(each.name)
        return dict(score["figures"])

    def fail(self, name: str, where: str, error: str) -> None:
        """Note a failure; the first one of a metric is told at once."""
        if name not in self.failed:
            warnings.warn(f"{name}: {where}: {error}", ReportedWarning, stacklevel=2)
        self.failed.setdefault(name, []).append({"where": where, "error": error})

    def _of_objects(self, place: Place) -> Iterator[ChosenMetric]:
        """Metrics of objects that measure this one."""
        for each in self._chosen.metrics:
            counts = each.objects is None or place.position < each.objects
            if each.of_objects and counts and not self._unmet[each.name, place.record]:
                yield each

    def _key(self, each: ChosenMetric, place: Place) -> str:
        return f"{place.key}/{self._keys[each.name]}"

    @torch.no_grad()
    def _ask(
        self,
        each: ChosenMetric,
        measure: Callable[[], Any],
        place: Place,
        alone: bool,
        words: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """Keep the figures that a metric gives, if they are as declared, and its words."""
        key, began = self._key(each, place), time.perf_counter()
        if not self._prepare(each):
            return
        try:
            given, told = measure(), dict(words())
            error = figures_error(each.figures, given)
        except torch.OutOfMemoryError as caught:
            if not alone:
                raise
            error = f"runs out of memory: {caught}"
        except Exception as caught:  # a component may fail in any way
            error = f"raises {type(caught).__name__}: {caught}"
        self.seconds[each.name] = self.seconds.get(each.name, 0.0) + time.perf_counter() - began
        if error is None:
            figures = {name: None if value is None else float(value) for name, value in given.items()}
            row = {"key": key, "metric": each.name, "where": place.where, "figures": figures}
            self._scores.add(key, row | {"words": told} if told else row)
            return
        self._errors[key] = error
        self.fail(each.name, place.where, error)

    def _prepare(self, each: ChosenMetric) -> bool:
        """Hand real objects to a metric that compares with them, before it measures the first; False if it cannot.

        Raises:
            TuneMV3DError: it cannot use them, and was asked for by name.
        """
        if not isinstance(each.metric, ComparesWithReal) or self._data is None:
            return True
        if each.name not in self._ready:
            self._ready.add(each.name)
            try:
                each.metric.use_dataset(self._data.dataset, self._model)
            except TuneMV3DError as error:
                if self._chosen.asked:
                    raise
                self._leave_out(each, str(error))
                warnings.warn(f"metric '{each.name}' is left out: {error}", ReportedWarning, stacklevel=2)
            except Exception as error:  # a component may fail in any way
                self._leave_out(each, f"raises {type(error).__name__}: {error}")
                self.fail(each.name, "reading the real objects", self.skipped[each.name])
        return not self._unmet[each.name, True]

    def _leave_out(self, each: ChosenMetric, reason: str) -> None:
        self.skipped[each.name] = self._unmet[each.name, False] = self._unmet[each.name, True] = reason


@dataclass(frozen=True)
class SetTask:
    """A set of objects for a metric of sets.

    Attributes:
        metric: it.
        objects: how many it measures, from the first.
        place: of the set.
    """

    metric: ChosenMetric
    objects: int
    place: Place


def worst(figure: Figure) -> float | None:
    """Return the value that an object counts by where it failed; None where the figure's range is open there."""
    value = figure.low if figure.higher_is_better else figure.high
    return value if isfinite(value) else None
