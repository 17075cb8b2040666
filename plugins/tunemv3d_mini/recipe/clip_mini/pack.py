"""All rendered objects in one file: each as one WebP strip of its views over white, with its captions and credits."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from clip_mini.texts import Attributes, attributes_of
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.io.posed_images import read_manifest, read_object

FOLDERS = {"chairs": "train", "furniture": "train", "held_out": "held_out"}
"""Folders that ``render.sh`` writes, and what their objects are for."""


@dataclass(frozen=True)
class Rendered:
    """One object of the pack.

    Attributes:
        id, base: its name, and that of the object it is a repainted variant of.
        world: the folder it was rendered into.
        attributes: type, colours and so on.
        licence, creator: of the object.
        elevations: of its cameras, degrees.
    """

    id: str
    base: str
    world: str
    attributes: Attributes
    licence: str
    creator: str
    elevations: tuple[float, ...]


def write_pack(renders: Path, out: Path, quality: int = 85) -> None:
    """Write the objects under ``renders`` into the file ``out``."""
    heads: list[dict[str, Any]] = []
    strips: list[bytes] = []
    for world in FOLDERS:
        for id_ in read_manifest(renders / world):
            folder = renders / world / "objects" / id_
            record = read_object(folder)
            heads.append(
                {"id": id_, "world": world, "captions": record.captions, "licence": record.licence}
                | {"creator": record.creator, "elevations": _elevations(record.cameras)}
                | {key: record.extra[key] for key in ("base", "type", "colour")}
            )
            strips.append(_strip([folder / file for file in record.files], quality))
    ends = torch.tensor(np.cumsum([len(strip) for strip in strips]))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {"strips": torch.frombuffer(bytearray(b"".join(strips)), dtype=torch.uint8), "ends": ends},
        out,
        metadata={"objects": json.dumps(heads)},
    )
    print(f"{len(heads)} objects, {out.stat().st_size / 1e6:.1f} MB: {out}")


def read_pack(file: Path, workers: int = 8) -> tuple[list[Rendered], Tensor]:
    """Read the objects and their pictures, ``objects views 3 H W`` uint8."""
    with safe_open(file, "pt") as content:
        heads = json.loads(content.metadata()["objects"])
        raw, ends = content.get_tensor("strips").numpy().tobytes(), content.get_tensor("ends").tolist()
    with ThreadPoolExecutor(workers) as pool:
        strips = list(pool.map(_views, [raw[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]))
    objects = [
        Rendered(
            head["id"],
            head["base"],
            head["world"],
            attributes_of(head["type"], head["colour"], tuple(head["captions"])),
            head["licence"],
            head["creator"],
            tuple(head["elevations"]),
        )
        for head in heads
    ]
    return objects, torch.from_numpy(np.stack(strips))


def _elevations(cameras: Cameras) -> list[float]:
    """Heights of cameras above the horizon in degrees, to a tenth."""
    places = cameras.origins
    return [round(float(each), 1) for each in torch.rad2deg(torch.asin(places[:, 2] / places.norm(dim=-1)))]


def _strip(files: list[Path], quality: int) -> bytes:
    views = []
    for file in files:
        with Image.open(file) as picture:
            rgba = picture.convert("RGBA")
        views.append(np.asarray(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(views, axis=1)).save(buffer, "webp", quality=quality, method=6)
    return buffer.getvalue()


def _views(strip: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(strip)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    side = pixels.shape[0]
    return pixels.reshape(side, -1, side, 3).transpose(1, 3, 0, 2).copy()
