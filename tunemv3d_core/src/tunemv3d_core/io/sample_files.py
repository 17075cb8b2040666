"""Writing a sampled object's folder: its layout and its reader are in ``tunemv3d_core.io.samples``."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.io.atomic import put_in_place
from tunemv3d_core.io.depth_normals import save_depth, save_normals
from tunemv3d_core.io.file_names import is_device
from tunemv3d_core.io.generated import GeneratedBy, save_picture
from tunemv3d_core.io.json_files import write_json
from tunemv3d_core.io.posed_images import PosedImages, write_object
from tunemv3d_core.io.samples import MANIFEST, write_scene
from tunemv3d_core.viz.pictures import cut_out, grid, to_pil


@dataclass(frozen=True)
class FinishedObject:
    """One object as it comes out of sampling. Without a field there are images, latents and cameras alone.

    Attributes:
        images: ``n 3 H W`` in [0, 1], on white.
        latents: ``n c h w``, clean.
        cameras: ``n``.
        renders: the field's renders at the same cameras, decoded, like ``images``; None too where it gives features.
        opacity: ``n H W``, 0 to 1.
        depth: ``n H W``, z in the camera, world units, 0 where nothing was hit.
        normals: ``n 3 H W``, outward, world space; None too where the field knows none.
        given: indices of views that were given, not made; ``images`` shows them as they went in.
    """

    images: Tensor
    latents: Tensor
    cameras: Cameras
    renders: Tensor | None = None
    opacity: Tensor | None = None
    depth: Tensor | None = None
    normals: Tensor | None = None
    given: tuple[int, ...] = ()


def write_sample(made: FinishedObject, out: Path, about: dict[str, Any]) -> Path:
    """Write an object's grid, views, maps, cameras, scene and manifest to a new folder; nothing is overwritten.

    Args:
        made: the object.
        out: a folder, made where it is not there.
        about: the manifest's content; its ``prompt`` and ``seed`` name the folder.

    Returns:
        The folder.

    Raises:
        SampleError: a picture holds numbers that are not finite, or the folder cannot be written, such as on a full
            disk; nothing half-written stays.
    """
    check_finite(made.latents)
    check_finite(made.images)
    by = GeneratedBy.of(about)
    with _appearing(out, about["prompt"], about["seed"]) as (beside, folder):
        files: dict[str, Any] = {"grid": "grid.png", "cameras": "transforms.json", **_write_views(made, beside, by)}
        drawn = grid(made.images, made.renders, made.opacity, made.depth, made.given)
        save_picture(drawn, beside / "grid.png", by.composite_xmp if made.given else by.xmp)
        if made.given:
            files["given"] = _write_given(made, beside)
        h, w = made.images.shape[-2:]
        cameras, prompt = made.cameras.to("cpu"), about["prompt"]
        maps = {"depth_files": files.get("depth", ()), "normal_files": files.get("normals", ())}
        write_object(beside, PosedImages(folder.name, cameras, (h, w), (prompt,), files["views"], **maps))
        if made.opacity is not None:
            write_scene(beside, made.latents, cameras)
        write_json(beside / MANIFEST, {**about, "files": files})
    return folder


def check_finite(views: Tensor, when: str = "") -> None:
    """Refuse views ``n c h w``, latents or pictures, that hold numbers which are not finite.

    Raises:
        SampleError: names the views, and says ``when``, such as "after step 3 of 25".
    """
    bad = (~views.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    if bad:
        raise SampleError(
            f"{'views' if len(bad) > 1 else 'view'} {', '.join(map(str, bad))}{when and ' ' + when}: numbers that "
            "are not finite (NaN): take another scheduler, less guidance or float32; a tuned model that does so at any "
            "seed has diverged in training"
        )


def check_writable(out: Path) -> None:
    """Find out before the work whether its results can be kept in a folder; makes nothing yet.

    Raises:
        TuneMV3DError: a file is in the way, or the folder is not writable.
    """
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise TuneMV3DError(f"{out}: {place} is a file; choose another folder with --out")
    if not os.access(place, os.W_OK | os.X_OK):
        raise TuneMV3DError(f"{out}: {place} is not writable; choose another folder with --out")


def _write_views(made: FinishedObject, folder: Path, by: GeneratedBy) -> dict[str, tuple[str, ...]]:
    """Write the pictures one by one; return their names by kind."""

    def write_picture(path: Path, image: Tensor) -> None:
        given = int(path.stem) in made.given
        save_picture(to_pil(image), path, by.composite_xmp if given else by.xmp)

    def write_depth(path: Path, depth: NDArray[np.float32]) -> None:
        save_depth(path, depth, by.xmp)

    def write_normals(path: Path, normals: NDArray[np.float32]) -> None:
        save_normals(path, normals, by.xmp)

    if made.opacity is None or made.depth is None:
        return {"views": _each(folder, "views", made.images, write_picture)}
    cut = cut_out(made.images, made.opacity)
    # What the picture's outline leaves out is no surface either.
    seen = (made.opacity > 0.5).float()
    files = {
        "views": _each(folder, "views", cut, write_picture),
        "depth": _each(folder, "depth", (made.depth * seen).float().cpu().numpy(), write_depth),
    }
    if made.normals is not None:
        normals = (made.normals * seen[:, None]).float().cpu().movedim(1, -1).numpy()
        files["normals"] = _each(folder, "normals", normals, write_normals)
    return files


def _write_given(made: FinishedObject, folder: Path) -> tuple[str, ...]:
    """Write the views that were given, on white, as they went into the model; return their names."""
    (folder / "given").mkdir()
    names = tuple(f"given/{index:03d}.png" for index in made.given)
    for name, index in zip(names, made.given, strict=True):
        to_pil(made.images[index]).save(folder / name)
    return names


def _each(folder: Path, kind: str, items: Any, write: Callable[[Path, Any], None]) -> tuple[str, ...]:
    (folder / kind).mkdir()
    names = tuple(f"{kind}/{index:03d}.png" for index in range(len(items)))
    for name, item in zip(names, items, strict=True):
        write(folder / name, item)
    return names


@contextmanager
def _appearing(out: Path, prompt: str, seed: int) -> Iterator[tuple[Path, Path]]:
    """Give a folder to write into, and the new one in ``out`` that it becomes; nothing half-written stays."""
    beside = folder = out
    try:
        beside, folder = _reserve(out, prompt, seed)
        yield beside, folder
        put_in_place(beside, folder)
    except OSError as error:
        raise SampleError(
            f"{folder}: the samples could not be written: {error}. Make room there, or choose another folder"
        ) from error
    finally:
        if beside != out:
            shutil.rmtree(beside, ignore_errors=True)


def folder_name(prompt: str, seed: int) -> str:
    """Return the name of an object's folder; where there is one of that name, a number is added."""
    slug = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:60] or "sample"
    slug = f"sample-{slug}" if is_device(slug) else slug
    # File systems count bytes.
    return slug.encode()[:180].decode(errors="ignore") + (f"-seed{seed}" if seed else "")


def _reserve(out: Path, prompt: str, seed: int) -> tuple[Path, Path]:
    """Make a folder to write into beside the one that it will become, which is named after prompt and seed.

    Whoever makes it owns the name, because several commands may write into ``out`` at once. Leftovers of killed
    commands are skipped.
    """
    slug = folder_name(prompt, seed)
    out.mkdir(parents=True, exist_ok=True)
    for name in [slug] + [f"{slug}-{i}" for i in range(2, 10_000)]:
        folder, beside = out / name, out / f"{name}.part"
        with suppress(FileExistsError):
            beside.mkdir()
            if not folder.exists():
                return beside, folder
            beside.rmdir()
    raise FileExistsError(f"there are thousands of '{slug}'")
