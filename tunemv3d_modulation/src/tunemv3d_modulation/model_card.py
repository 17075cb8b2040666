"""The model card of a published checkpoint."""

from pathlib import Path
from typing import Any

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.config.component_spec import HasPretrained
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.io.json_files import read_json
from tunemv3d_core.sampling import has_surface


def model_card(name: str, pipe: Any, spec: RunSpec, folder: Path, licence: str = "") -> str:
    """Write the README of a published checkpoint from its spec and its provenance.

    Args:
        name: the model's.
        pipe: the pipeline.
        spec: as it is published.
        folder: the checkpoint's, whose provenance is read.
        licence: of the weights; "" leaves the line out.
    """
    record = read_json(folder / "provenance.json")
    base = spec.model.backbone.pretrained if isinstance(spec.model.backbone, HasPretrained) else ""
    head = ["---", "library_name: tunemv3d", *([f"license: {licence}"] if licence else [])]
    head += [*([f"base_model: {base}"] if base else []), "tags: [text-to-3d, multi-view, diffusers]", "---"]
    parts = ["| slot | component | distribution |", "| --- | --- | --- |"]
    parts += [
        f"| {slot} | {entry['type']} | {entry['distribution']}=={entry['version']} |"
        for slot, entry in record["components"].items()
    ]
    own = spec.sample
    sampling = f"{own.steps} steps of {type(pipe.scheduler).__name__}, guidance {own.guidance:g}, K = {own.consistency}"
    installs = sorted({f"{entry['distribution']}=={entry['version']}" for entry in record["components"].values()})
    return CARD.format(
        head="\n".join(head),
        name=name,
        base=base or "its 2D model",
        options=("" if base else " --base PATH_OR_ID") + (" --mesh" if _can_be_meshed(pipe) else ""),
        views=spec.views.inputs,
        installs=" ".join(installs),
        sampling=sampling,
        parts="\n".join(parts),
        data=_describe_data(pipe.data or {}),
        id=record["spec_id"],
    )


def _can_be_meshed(pipe: Any) -> bool:
    """Tell whether `--mesh` works, as the command finds out before it samples."""
    field = pipe.model.field
    if field is None or not field.ports.novel_views:
        return False
    return has_surface(pipe.model, Cameras.orbit(2)[None].to(pipe.execution_device), pipe.latent_size())


def _describe_data(data: dict[str, Any]) -> str:
    """List objects, licences and creators of the training data, as far as they are known."""
    if not data:
        return "Nothing is recorded of the training data."
    lines = [f"{data['objects']} objects."] if "objects" in data else []
    for key in ("licences", "creators"):
        if counts := data.get(key):
            listed = ", ".join(f"{what or 'unknown'} ({count})" for what, count in sorted(dict(counts).items()))
            lines.append(f"{key.capitalize()}: {listed}.")
    return "\n".join(lines) or "Nothing is recorded of the training data."


CARD = """{head}
# {name}

An adapter of TuneMV3D: it makes {base} denoise {views} views of one object together, through a 3D field.

    pip install {installs}
    tunemv3d sample {name} "a red office chair"{options}

```python
from tunemv3d_modulation.pipeline import TuneMV3DPipeline

pipe = TuneMV3DPipeline.from_pretrained("{name}")
pipe("a red office chair").images[0][0].save("view.png")
```

By default: {sampling}.

{parts}

## Training data

{data}

The spec is `spec.json` (id {id}); where every part came from stands in `provenance.json`.
"""
