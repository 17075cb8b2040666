"""What scoring gives: a row for each object, and the figures of sets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunemv3d_core.consistency import Consistency
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_eval.scoring.measurement import Answer, Measurement, SetTask

Progress = Callable[[int], None]
"""Told how many objects are measured by now."""


@dataclass
class Scored:
    """Figures of one checkpoint.

    Attributes:
        label: of the checkpoint.
        rows: of the report, one for each object.
        failed: of each row, the figures that are the worst value because something failed.
        sets: of sets: consistency, control, figures, and n, how many objects each is of.
    """

    label: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    failed: list[frozenset[str]] = field(default_factory=list)
    sets: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, k: Consistency | None, control: str | None, prompt: str, seed: int, answer: Answer, **more: str
    ) -> None:
        """Add an object's row."""
        about = {"checkpoint": self.label, "consistency": k, "prompt": prompt, "seed": seed, "control": control}
        self.rows.append({**about, **more, "error": answer.error or None, **answer.words, **answer.figures})
        self.failed.append(answer.failed)

    def add_sets(
        self,
        measurement: Measurement,
        tasks: Sequence[SetTask],
        k: Consistency | None,
        control: str | None,
        samples: Sequence[MeasuredObject],
    ) -> None:
        """Measure sets and add their figures.

        Args:
            measurement: the metrics.
            tasks: the sets.
            k: of the objects.
            control: what they are, if they are no samples.
            samples: the objects in order, on the CPU; empty where all sets were measured before.
        """
        for task in tasks:
            figures = measurement.of_set(task, samples[: task.objects])
            about = {"checkpoint": self.label, "consistency": k, "control": control, "n": task.objects}
            self.sets.append({**about, "figures": figures})
