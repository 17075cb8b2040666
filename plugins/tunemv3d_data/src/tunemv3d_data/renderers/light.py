"""The light of a dataset's pictures: fixed in the world, so that a point has one brightness in all views."""

from dataclasses import dataclass

import numpy as np

from tunemv3d_data.meshes.mesh import Floats

DARKEST = 24.0
"""What a texture's 0 is raised to, of 255: on a true black no light would show the form."""
BRIGHTEST = 235.0
"""What lit surfaces are cut at, of 255: as white as the ground, a white chair would have no outline."""


@dataclass(frozen=True)
class Light:
    """Light from everywhere, from above, and from a few directions, without shadows.

    Attributes:
        ambient: brightness that every surface has.
        sky: added to surfaces that face up, taken from those that face down.
        directions: pairs of a direction towards a light (x, y, z in the world; any length) and its strength.
    """

    ambient: float
    sky: float = 0.0
    directions: tuple[tuple[tuple[float, float, float], float], ...] = ()

    def on(self, normals: Floats) -> Floats:
        """Return the brightness ``r`` of surfaces that face ``normals`` (``r 3``), a factor on sRGB colours."""
        light = self.ambient + self.sky * normals[:, 2]
        for direction, strength in self.directions:
            towards = np.asarray(direction, dtype=np.float32) / np.linalg.norm(direction).astype(np.float32)
            light = light + strength * np.clip(normals @ towards, 0, None)
        return np.asarray(light, dtype=np.float32)


STUDIO = Light(0.70, 0.10, (((-0.45, -0.65, 0.60), 0.24), ((0.80, -0.10, 0.35), 0.12), ((0.20, 0.85, 0.50), 0.12)))
"""Front left, right and back: about 0.6 to 1.1."""

FLAT = Light(1.0)
"""No form but the outline: the surface's own colours."""


def random_light(random: np.random.Generator) -> Light:
    """Draw three lights from directions above the ground, as bright together as the studio's."""
    directions = []
    for strength in (0.28, 0.16, 0.10):
        azimuth, height = random.uniform(0, 2 * np.pi), random.uniform(0.1, 0.9)
        flat = np.sqrt(1 - height**2)
        directions.append(((flat * float(np.cos(azimuth)), flat * float(np.sin(azimuth)), height), strength))
    return Light(0.66, 0.10, tuple(directions))
