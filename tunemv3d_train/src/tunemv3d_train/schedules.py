"""The schedules ``constant`` and ``cosine``: factors on a learning rate over the steps of a run."""

import math

from tunemv3d_core.slots import Schedule
from tunemv3d_train.spec import ConstantSpec, CosineSpec


def build_constant(spec: ConstantSpec) -> Schedule:
    """Build the schedule that is 1 throughout."""
    return lambda step, steps: 1.0


def build_cosine(spec: CosineSpec) -> Schedule:
    """Build the schedule that is 1 until ``spec.start`` of the steps and falls along half a cosine to zero after it."""

    def cosine(step: int, steps: int) -> float:
        start = spec.start * steps
        return 1.0 if step < start else 0.5 * (1 + math.cos(math.pi * (step - start) / (steps - start)))

    return cosine
