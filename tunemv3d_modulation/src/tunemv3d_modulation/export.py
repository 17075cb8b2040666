"""The command ``tunemv3d export``: a folder to publish, with its model card."""

from pathlib import Path
from typing import Annotated, Any

import typer

from tunemv3d_core.config.component_spec import HasPretrained
from tunemv3d_core.console import console, print_json
from tunemv3d_core.errors import CheckpointError, TuneMV3DError
from tunemv3d_core.io.posed_images import read_json

DTYPES = ("fp32", "fp16", "bf16")


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="A packaged checkpoint's name, its folder, a run's folder or a hub id.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to make; it should not be there yet.")],
    dtype: Annotated[str, typer.Option(help="Of the stored weights: fp32, fp16 or bf16.")] = "fp16",
    licence: Annotated[str, typer.Option(help="Of these weights, as the hub names it, such as cc-by-4.0.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a checkpoint as it is published: weights, spec, scheduler, provenance and a model card."""
    if dtype not in DTYPES:
        raise TuneMV3DError(f"--dtype {dtype}: one of {', '.join(DTYPES)} is expected")
    if out.exists():
        raise TuneMV3DError(f"--out {out}: is there already; choose another folder")
    # Heavy: torch, diffusers and transformers.
    import torch

    from tunemv3d_core.io.atomic import atomic_folder
    from tunemv3d_core.io.sample_files import check_writable
    from tunemv3d_modulation.pipeline import TuneMV3DPipeline

    check_writable(out)
    kinds = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    pipe = TuneMV3DPipeline.from_pretrained(checkpoint)
    try:
        with atomic_folder(out) as beside:
            pipe.save_pretrained(beside, kinds[dtype])
            (beside / "README.md").write_text(
                model_card(out.name, pipe, beside, licence), encoding="utf-8", newline="\n"
            )
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(beside), str(out))) from error
    except OSError as error:
        raise CheckpointError(
            f"{out}: could not be written: {error}; make room there, or choose another --out"
        ) from error
    written = {
        file.relative_to(out).as_posix(): file.stat().st_size for file in sorted(out.rglob("*")) if file.is_file()
    }
    if as_json:
        print_json({"folder": str(out), "files": written})
    else:
        console.print(f"{out}: {sum(written.values()) / 2**20:.1f} MiB", soft_wrap=True, highlight=False)


def model_card(name: str, pipe: Any, folder: Path, licence: str = "") -> str:
    """Write the README of a published checkpoint from its spec and its provenance.

    Args:
        name: the model's.
        pipe: the pipeline.
        folder: the checkpoint's, whose provenance is read.
        licence: of the weights; "" leaves the line out.
    """
    record, spec = read_json(folder / "provenance.json"), pipe.spec
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
        views=spec.views.inputs,
        installs=" ".join(installs),
        sampling=sampling,
        parts="\n".join(parts),
        data=_describe_data(pipe.data or {}),
        id=record["spec_id"],
    )


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
    tunemv3d sample {name} "a red office chair" --mesh

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
