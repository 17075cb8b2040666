"""A third party's dataset that lies in memory: no folder, no files, only what ``Dataset`` asks for."""

from pathlib import Path

import numpy as np
import torch
import train_stand_ins as tiny

from tunemv3d_core.cameras import Cameras, sphere_points
from tunemv3d_core.config.component_spec import ComponentSpec
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.types import Views


class MemorySpec(ComponentSpec):
    views: int = 12
    """Of the last training object; the others have 12."""

    arc: float = 360.0
    """Degrees around the object over which cameras stand, in the order of time: slowly at first, then faster."""


class MemoryImages:
    """Discs seen from an arc that a hand-held camera went along."""

    def __init__(self, spec: MemorySpec) -> None:
        self._records = [
            PosedImages(f"disc{i}", captured(spec.views if i == 2 else 12, spec.arc), (tiny.SIZE,) * 2, (f"disc {i}",))
            for i in range(4)
        ]

    def __len__(self) -> int:
        return len(self._records)

    def splits(self) -> dict[str, list[int]]:
        return {"train": [0, 1, 2], "held_out": [3]}

    def record(self, index: int) -> PosedImages:
        return self._records[index]

    def views(self, index: int, cameras: list[int]) -> Views:
        record = self._records[index]
        rgba = np.stack([tiny.disc(index, view) for view in cameras])
        pixels = torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255
        alpha = pixels[:, 3:]
        images = (pixels[:, :3] * alpha + 1 - alpha) * 2 - 1
        return Views(images[None], alpha[None, :, 0], record.cameras[cameras][None], [record.captions[0]], [record.id])


def captured(views: int, arc: float = 360.0) -> Cameras:
    """Cameras in the order of time, the first half of them within a third of the arc, rising by 20 degrees."""
    half = views // 2
    share = np.concatenate([np.linspace(0, 1 / 3, half, endpoint=False), np.linspace(1 / 3, 1, views - half + 1)[:-1]])
    return Cameras.look_at(2.7 * sphere_points(np.radians(share * arc).tolist(), np.radians(20 * share).tolist()))


DATASET = ComponentPlugin("dataset", "memory", "1.0", MemorySpec, "memory_dataset:MemoryImages", "discs in memory")


def offer(folder: Path) -> None:
    """Write a distribution's metadata that offers this dataset to whoever has ``folder`` on ``sys.path``."""
    info = folder / "memory-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: memory\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tunemv3d.dataset]\nmemory = memory_dataset:DATASET\n")
