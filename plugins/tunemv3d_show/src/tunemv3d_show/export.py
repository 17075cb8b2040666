"""Writes the viewer's object as ``tunemv3d sample`` writes its own."""

from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.provenance import versions
from tunemv3d_core.io.sample_files import FinishedObject, write_sample
from tunemv3d_core.viz.geometry import render_shape
from tunemv3d_show.session import Session, Settings


def export(session: Session, out: Path) -> Path:
    """Write a finished object to a new folder in ``out``, which is made where it is not there; the folder.

    Raises:
        TuneMV3DError: nothing is finished.
        SampleError: a view is not finite, or the folder cannot be written; nothing half-written stays.
    """
    if not session.finished or session.made is None:
        raise TuneMV3DError("only a finished object can be exported: let the sampling end first")
    return write_sample(_finished(session), out, _about(session, session.made))


@torch.no_grad()
def _finished(session: Session) -> FinishedObject:
    """The last step's views, and the field's shape of them."""
    assert session.shown is not None
    model, latents = session.model, session.history[-1].latents
    images = session.pictures(latents)
    if model.field is None:
        return FinishedObject(images, latents[0], session.shown)
    scene, cameras = session.scene(), session.shown[None].to(model.device)
    h, w = latents.shape[-2:]
    coarse = scene.render(cameras, (h, w))
    seen = render_shape(scene, cameras, (images.shape[-2], images.shape[-1]), coarse)
    renders = session.pictures(model.blend(coarse, (h, w))) if model.field.ports.gives == "latents" else None
    maps = (None if z is None else z[0].cpu() for z in (seen.opacity, seen.depth, seen.normals))
    return FinishedObject(images, latents[0], session.shown, renders, *maps)


def _about(session: Session, made: Settings) -> dict[str, Any]:
    """The manifest, in the words of ``tunemv3d sample``."""
    origin = f"made in tunemv3d view{', from a branch' if session.branched else ''}"
    return {
        "checkpoint": session.checkpoint,
        "spec_id": spec_id(session.spec),
        "versions": versions(),
        "data": session.data,
        "prompt": made.prompt,
        "seed": made.seed,
        "num_inference_steps": made.steps,
        "guidance_scale": made.guidance,
        "consistency": made.consistency,
        "scheduler": session.spec.sample.scheduler,
        "seconds": round(sum(step.seconds for step in session.history), 2),
        "notes": [origin, *session.notes],
    }
