"""Where the cameras of a dataset stand: a ring to sample from, and points over the upper sphere."""

import hashlib
import math

import numpy as np

from tunemv3d_core.cameras import Cameras, sphere_points

DISTANCE = 2.7
FOCAL = 1.3
RING_ELEVATION = 20.0
ELEVATIONS = (-10.0, 60.0)
_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


def random_for(*names: object) -> np.random.Generator:
    """A generator that depends on names alone, so that a rerun draws the same numbers on any machine."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def viewpoints(name: str, views: int = 24) -> Cameras:
    """Cameras around one object, shape ``(views,)``, the same for the same name.

    A third (rounded up) stands evenly on a ring at elevation 20 degrees and comes first; the others lie on a golden
    spiral over elevations -10 to 60, evenly in area. Ring and spiral are each turned by a random angle.
    """
    random = random_for(name, "viewpoints")
    ring_turn, spiral_turn = random.uniform(0, 2 * math.pi, 2)
    ring = math.ceil(views / 3)
    cloud = views - ring
    low, high = (math.sin(math.radians(e)) for e in ELEVATIONS)
    azimuths = [ring_turn + 2 * math.pi * i / ring for i in range(ring)]
    elevations = [math.radians(RING_ELEVATION)] * ring
    azimuths += [spiral_turn + _GOLDEN_ANGLE * i for i in range(cloud)]
    elevations += [math.asin(low + (high - low) * (i + 0.5) / cloud) for i in range(cloud)]
    return Cameras.look_at(sphere_points(azimuths, elevations) * DISTANCE, FOCAL)
