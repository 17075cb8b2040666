"""Placement of a dataset's cameras: a ring first, then points over a band of the sphere."""

import math
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tunemv3d_core.cameras import Cameras, sphere_points
from tunemv3d_data.seeding import random_for

Pattern = Literal["fibonacci", "hammersley", "rings", "random"]
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


class Rig(BaseModel):
    """Rig of the cameras of every object; all look at the origin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: Pattern = "fibonacci"
    """Of the cameras after the ring, evenly in area over the elevations; "rings" puts them on three further rings."""
    ring: int | None = Field(default=None, ge=0)
    """Cameras evenly around the object that come first; None: a third of all."""
    ring_elevation: float = Field(default=20.0, gt=-90, lt=90)
    """Degrees."""
    elevations: tuple[float, float] = (-10.0, 60.0)
    """Lowest and highest, degrees."""
    distance: float = Field(default=2.7, gt=1.0)
    """From the origin, world units; objects lie within 0.9."""
    field_of_view: float = Field(default=2 * math.degrees(math.atan(0.5 / 1.3)), gt=1, lt=150)
    """Degrees, between the edges of the picture's shorter side."""
    jitter: float = Field(default=0.0, ge=0, lt=0.5)
    """Each camera's distance is drawn from distance x (1 - jitter, 1 + jitter)."""

    @model_validator(mode="after")
    def _check(self) -> "Rig":
        low, high = self.elevations
        if not -90 <= low < high <= 90:
            raise ValueError(
                f"elevations: the lowest must lie below the highest, within -90 to 90; got {low} and {high}"
            )
        if self.distance * (1 - self.jitter) <= 1:
            raise ValueError(f"distance {self.distance} with jitter {self.jitter} puts cameras into the unit sphere")
        return self


def viewpoints(name: str, views: int = 24, rig: Rig | None = None, aspect: float = 1.0) -> Cameras:
    """Place cameras around one object, shape ``(views,)``, the same for the same name.

    Ring and pattern are each turned by a random angle. ``aspect`` is the pictures' width over height.
    """
    rig = rig or Rig()
    random = random_for(name, "viewpoints")
    ring_turn, pattern_turn = random.uniform(0, 2 * math.pi, 2)
    ring = min(views, math.ceil(views / 3) if rig.ring is None else rig.ring)
    azimuths = [ring_turn + 2 * math.pi * i / ring for i in range(ring)]
    elevations = [math.radians(rig.ring_elevation)] * ring
    further_azimuths, heights = _pattern(rig.pattern, views - ring, random)
    low, high = (math.sin(math.radians(e)) for e in rig.elevations)
    azimuths += [pattern_turn + azimuth for azimuth in further_azimuths]
    elevations += [math.asin(low + (high - low) * height) for height in heights]
    distances = rig.distance * (1 + rig.jitter * random.uniform(-1, 1, (views, 1)))
    points = sphere_points(azimuths, elevations)
    focal = 0.5 / math.tan(math.radians(rig.field_of_view) / 2)
    return Cameras.look_at(points * points.new_tensor(distances), focal, aspect=aspect)


def _pattern(pattern: Pattern, count: int, random: np.random.Generator) -> tuple[list[float], list[float]]:
    """Azimuths in radians and heights from 0 to 1 (a sphere's area is even in height) of ``count`` points."""
    middles = [(i + 0.5) / count for i in range(count)]
    if pattern == "fibonacci":
        return [_GOLDEN_ANGLE * i for i in range(count)], middles
    if pattern == "hammersley":
        return [2 * math.pi * _radical_inverse(i) for i in range(count)], middles
    if pattern == "rings":
        on_each = math.ceil(count / 3)
        place = [divmod(i, on_each) for i in range(count)]
        return [2 * math.pi * i / on_each for _, i in place], [(ring + 0.5) / 3 for ring, _ in place]
    drawn = random.uniform(0, 1, (2, count))
    return (2 * math.pi * drawn[0]).tolist(), drawn[1].tolist()


def _radical_inverse(number: int) -> float:
    """The number's binary digits mirrored at the point (van der Corput)."""
    inverse, weight = 0.0, 0.5
    while number:
        inverse += weight * (number & 1)
        number, weight = number >> 1, weight / 2
    return inverse
