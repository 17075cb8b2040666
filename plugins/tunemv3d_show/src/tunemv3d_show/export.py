"""Writing the viewer's object as ``tunemv3d sample`` writes its own."""

from pathlib import Path
from typing import Any

from tunemv3d_core.config.run_spec import spec_id
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.generation import finish
from tunemv3d_core.io.file_names import without_paths
from tunemv3d_core.io.provenance import versions
from tunemv3d_core.io.sample_files import write_sample
from tunemv3d_show.session import Session, ViewerSettings


def export(session: Session, out: Path) -> Path:
    """Write a finished object to a new folder in ``out``, which is made where it is not there; return the folder.

    Raises:
        TuneMV3DError: nothing is finished.
        SampleError: a view is not finite, or the folder cannot be written; nothing half-written stays.
    """
    if not session.finished or session.made is None:
        raise TuneMV3DError("only a finished object can be exported: let the sampling end first")
    assert session.shown is not None
    finished = finish(session.model, session.history[-1].latents, session.made.prompt, session.shown)
    return write_sample(finished, out, _about(session, session.made))


def _about(session: Session, made: ViewerSettings) -> dict[str, Any]:
    """Return the manifest, in the words of ``tunemv3d sample``."""
    origin = f"made in tunemv3d view{', from a branch' if session.branched else ''}"
    return {
        "checkpoint": session.checkpoint,
        "spec_id": spec_id(session.spec),
        "versions": versions(),
        "data": without_paths(session.data),
        "prompt": made.prompt,
        "seed": made.seed,
        "num_inference_steps": made.steps,
        "guidance_scale": made.guidance,
        "consistency": made.consistency,
        "scheduler": session.spec.sample.scheduler,
        "seconds": round(sum(step.seconds for step in session.history), 2),
        "notes": [origin, *session.notes],
    }
