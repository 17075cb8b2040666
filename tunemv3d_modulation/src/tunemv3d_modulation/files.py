"""Writes a sampled object's folder (layout: ``tunemv3d_core.samples``)."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.maps import save_depth, save_normals
from tunemv3d_core.pictures import cut_out, grid, to_pil
from tunemv3d_core.posed_images import PosedImages, write_json, write_object
from tunemv3d_core.samples import MANIFEST, write_scene
from tunemv3d_modulation.pipeline import TuneMV3DOutput


def check_finite(output: TuneMV3DOutput) -> None:
    """Refuse views that are no pictures.

    Raises:
        SampleError: names the views.
    """
    bad = (~output.latents[0].isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
    if bad:
        raise SampleError(
            f"views {', '.join(map(str, bad))} hold numbers that are not finite: take another solver, fewer guidance "
            "or float32; a tuned model that does so at any seed has diverged in training"
        )


def save(output: TuneMV3DOutput, out: Path, about: dict[str, Any]) -> Path:
    """Write one object's grid, views, maps, cameras, scene and manifest to a new folder; nothing is overwritten.

    Args:
        output: of the pipeline for one prompt, its images "pt".
        out: a folder, made where it is not there.
        about: the manifest's content; its ``prompt`` names the folder.

    Returns:
        The folder.

    Raises:
        SampleError: the folder cannot be written, such as on a full disk; nothing half-written stays.
    """
    folder = _free(out, about["prompt"], about["seed"])
    with _appearing(folder) as beside:
        files: dict[str, Any] = {"grid": "grid.png", "cameras": "transforms.json"}
        files |= _views(output, beside)
        renders = None if output.renders is None else output.renders[0]
        opacity, depth = (None if m is None else m[0] for m in (output.opacity, output.depth))
        grid(output.images[0], renders, opacity, depth).save(beside / "grid.png")
        h, w = output.images.shape[-2:]
        cameras, prompt = output.cameras[0].to("cpu"), about["prompt"]
        named = {
            "files": files["views"],
            "depth_files": files.get("depth", ()),
            "normal_files": files.get("normals", ()),
        }
        write_object(beside, PosedImages(folder.name, cameras=cameras, size=(h, w), captions=(prompt,), **named))
        if output.scene is not None:
            write_scene(beside, output.latents[0], cameras)
        write_json(beside / MANIFEST, {**about, "files": files})
    return folder


def _views(output: TuneMV3DOutput, folder: Path) -> dict[str, tuple[str, ...]]:
    """Write the pictures one by one; their names by kind."""
    images: Tensor = output.images[0]
    if output.opacity is None:
        return {"views": _each(folder, "views", images, lambda path, image: to_pil(image).save(path))}
    cut = cut_out(images, output.opacity[0])
    files = {"views": _each(folder, "views", cut, lambda path, image: to_pil(image).save(path))}
    # What the picture's outline leaves out is no surface either.
    seen = output.opacity[0].float().cpu().numpy() > 0.5
    if output.depth is not None:
        depth = output.depth[0].float().cpu().numpy()
        files["depth"] = _each(folder, "depth", np.where(seen, depth, 0), save_depth)
    if output.normals is not None:
        normals = output.normals[0].float().cpu().movedim(1, -1).numpy()
        files["normals"] = _each(folder, "normals", np.where(seen[..., None], normals, 0), save_normals)
    return files


def _each(folder: Path, kind: str, items: Any, write: Any) -> tuple[str, ...]:
    (folder / kind).mkdir()
    names = tuple(f"{kind}/{index:03d}.png" for index in range(len(items)))
    for name, item in zip(names, items, strict=True):
        write(folder / name, item)
    return names


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder`` to write into, renamed at the end; nothing half-written stays."""
    beside = folder.with_name(folder.name + ".part")
    try:
        beside.mkdir(parents=True)
        yield beside
        os.replace(beside, folder)
    except OSError as error:
        raise SampleError(
            f"{folder}: the samples could not be written: {error}. Make room there, or choose another folder with --out"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_writable(out: Path) -> None:
    """Find out before the sampling whether its results can be kept; makes nothing yet.

    Raises:
        TuneMV3DError: a file is in the way, or the folder is not writable.
    """
    place = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise TuneMV3DError(f"--out {out}: {place} is a file; choose a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise TuneMV3DError(f"--out {out}: {place} is not writable; choose another folder")


def _free(out: Path, prompt: str, seed: int) -> Path:
    """A folder in ``out`` that is named after the prompt, and the seed where it is not 0, and not there yet."""
    slug = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:60] or "sample"
    slug = f"{slug}-seed{seed}" if seed else slug
    names = [slug] + [f"{slug}-{i}" for i in range(2, 10_000)]
    return next(out / name for name in names if not (out / name).exists())
