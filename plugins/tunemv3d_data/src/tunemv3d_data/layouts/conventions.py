"""Conventions of camera matrices: which way the camera's axes point, and what the matrix maps to what.

Named after what uses them. ``tunemv3d data convert --convention`` takes the names of ``CONVENTIONS``.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Literal["camera-to-world", "world-to-camera", "row-vector (transposed rotation)"]
Signs = tuple[int, int, int]

_WORDS = (("right", "left"), ("down", "up"), ("forward", "backward"))
NICKNAMES: dict[Signs, str] = {
    (1, 1, 1): "OpenCV",
    (1, -1, -1): "OpenGL",
    (-1, -1, 1): "PyTorch3D",
    (1, -1, 1): "Unity, left-handed",
}


@dataclass(frozen=True)
class Convention:
    """How camera matrices are stored.

    Attributes:
        axes: 1 where the camera's x, y, z axis points right, down, forward, as ours do, else -1.
        kind: what the matrix is.
    """

    axes: Signs
    kind: Kind = "camera-to-world"

    def __str__(self) -> str:
        words = [f"{axis} {names[sign < 0]}" for axis, names, sign in zip("xyz", _WORDS, self.axes, strict=True)]
        nickname = NICKNAMES.get(self.axes)
        axes = f"{nickname} ({', '.join(words)})" if nickname else f"mirrored ({', '.join(words)})"
        return f"{axes} {self.kind} matrices"

    @property
    def name(self) -> str:
        """Name in ``CONVENTIONS``, "" for one that nothing is known to use."""
        return next((name for name, known in CONVENTIONS.items() if known == self), "")

    def poses(self, stored: Floats) -> Floats:
        """Turn stored matrices ``n 4 4`` into poses ``n 4 4``: camera to world, our axes.

        Raises:
            numpy.linalg.LinAlgError: a world-to-camera matrix has no inverse.
        """
        poses = self._turned(stored)
        poses[:, :3, :3] *= np.array(self.axes, dtype=float)
        return poses

    def stored(self, poses: Floats) -> Floats:
        """Turn poses ``n 4 4`` into matrices ``n 4 4`` of this convention: the inverse of ``poses``."""
        matrices = poses.copy()
        matrices[:, :3, :3] *= np.array(self.axes, dtype=float)
        return self._turned(matrices)

    def _turned(self, matrices: Floats) -> Floats:
        if self.kind == "world-to-camera":
            return np.asarray(np.linalg.inv(matrices), dtype=np.float64)
        turned = matrices.astype(np.float64)
        if self.kind != "camera-to-world":
            turned[:, :3, :3] = turned[:, :3, :3].transpose(0, 2, 1)
        return turned


OPENCV, OPENGL = Convention((1, 1, 1)), Convention((1, -1, -1))
OPENCV_W2C, OPENGL_W2C = Convention((1, 1, 1), "world-to-camera"), Convention((1, -1, -1), "world-to-camera")

CONVENTIONS: dict[str, Convention] = {
    "opencv": OPENCV,
    "opengl": OPENGL,
    "blender": OPENGL,
    "opencv-w2c": OPENCV_W2C,
    "colmap": OPENCV_W2C,
    "opengl-w2c": OPENGL_W2C,
    "zero123": OPENGL_W2C,
    "pytorch3d": Convention((-1, -1, 1)),
    "pytorch3d-w2c": Convention((-1, -1, 1), "world-to-camera"),
    "unity": Convention((1, -1, 1)),
    "unity-w2c": Convention((1, -1, 1), "world-to-camera"),
    "opencv-transposed": Convention((1, 1, 1), "row-vector (transposed rotation)"),
    "opengl-transposed": Convention((1, -1, -1), "row-vector (transposed rotation)"),
}
"""By name; "w2c" is world to camera, all others are camera to world."""
