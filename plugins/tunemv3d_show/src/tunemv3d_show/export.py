"""Writes the viewer's object as a sampled object's folder (layout: ``tunemv3d_core.samples``)."""

import os
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import SampleError, TuneMV3DError
from tunemv3d_core.maps import save_depth, save_normals
from tunemv3d_core.pictures import cut_out, grid, to_pil
from tunemv3d_core.posed_images import PosedImages, write_json, write_object
from tunemv3d_core.provenance import versions
from tunemv3d_core.samples import MANIFEST, write_scene
from tunemv3d_core.spec import spec_id
from tunemv3d_core.types import Rendering
from tunemv3d_show.session import Session


def export(session: Session, out: Path) -> Path:
    """Write a finished object to a new folder in ``out``, which is made where it is not there; the folder.

    Raises:
        TuneMV3DError: nothing is finished.
        SampleError: the folder cannot be written; nothing half-written stays.
    """
    if not session.finished or session.made is None or session.shown is None:
        raise TuneMV3DError("only a finished object can be exported: let the sampling end first")
    folder = _free(out, session.made.prompt, session.made.seed)
    beside = folder.with_name(folder.name + ".part")
    try:
        beside.mkdir(parents=True)
        _write(session, session.shown.to("cpu"), beside, folder.name)
        os.replace(beside, folder)
    except OSError as error:
        raise SampleError(f"{folder}: cannot be written: {error}. Make room there, or name another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


@torch.no_grad()
def _write(session: Session, cameras: Cameras, folder: Path, name: str) -> None:
    latents = session.history[-1].latents
    images = session.pictures(latents)
    h, w = images.shape[-2:]
    files: dict[str, Any] = {"grid": "grid.png", "cameras": "transforms.json"}
    if session.model.field is None:
        files |= _each(folder, "views", images, lambda path, image: to_pil(image).save(path))
        grid(images, None, None, None).save(folder / "grid.png")
    else:
        placed = cameras[None].to(session.model.device)
        seen = session.scene().render(placed, (h, w), normals=True)
        files |= _maps(folder, images, seen)
        grid(images, None, seen.opacity[0].cpu(), seen.depth[0].cpu()).save(folder / "grid.png")
        write_scene(folder, latents[0], cameras)
    assert session.made is not None
    maps = {"depth_files": files.get("depth", ()), "normal_files": files.get("normals", ())}
    record = PosedImages(name, files["views"], cameras, (h, w), (session.made.prompt,), **maps)
    write_object(folder, record)
    write_json(folder / MANIFEST, {**_about(session), "files": files})


def _maps(folder: Path, images: torch.Tensor, seen: Rendering) -> dict[str, Any]:
    """Cut-out views, depth, and normals where the field has them."""
    opacity = seen.opacity[0].float().cpu()
    solid = opacity > 0.5
    files = _each(folder, "views", cut_out(images, opacity), lambda path, image: to_pil(image).save(path))
    files |= _each(folder, "depth", (seen.depth[0].float().cpu() * solid).numpy(), save_depth)
    if seen.normals is not None:
        normals = (seen.normals[0].float().cpu() * solid[:, None]).movedim(1, -1).numpy()
        files |= _each(folder, "normals", normals, save_normals)
    return files


def _each(folder: Path, kind: str, items: Any, write: Any) -> dict[str, tuple[str, ...]]:
    (folder / kind).mkdir()
    names = tuple(f"{kind}/{index:03d}.png" for index in range(len(items)))
    for name, item in zip(names, items, strict=True):
        write(folder / name, item)
    return {kind: names}


def _about(session: Session) -> dict[str, Any]:
    """The manifest, in the words of ``tunemv3d sample``."""
    assert session.made is not None
    made = asdict(session.made)
    return {
        "checkpoint": session.checkpoint,
        "spec_id": spec_id(session.spec),
        "versions": versions(),
        "data": session.data,
        "prompt": made["prompt"],
        "seed": made["seed"],
        "num_inference_steps": made["steps"],
        "guidance_scale": made["guidance"],
        "consistency": made["consistency"],
        "scheduler": session.spec.sample.scheduler,
        "seconds": round(sum(step.seconds for step in session.history), 2),
        "notes": [f"made in tunemv3d view{', from a branch' if session.branched else ''}"],
    }


def _free(out: Path, prompt: str, seed: int) -> Path:
    slug = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:60] or "sample"
    slug = f"{slug}-seed{seed}" if seed else slug
    return next(out / n for n in [slug, *(f"{slug}-{i}" for i in range(2, 10_000))] if not (out / n).exists())
