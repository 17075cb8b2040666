"""Store a tuned run as the packaged adapter: half precision, the chosen K, a model card with measured figures."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from tunemv3d_core.posed_images import read_json
from tunemv3d_core.spec import RunSpec, load_spec

COLUMNS = {
    "consistency": "K",
    "hull_recall": "hull recall",
    "hull_recall_cell": "within a latent cell",
    "leave_one_out": "leave-one-out PSNR",
    "opacity_iou": "opacity IoU",
    "pose_agreement": "pose followed",
    "colour_met": "named colour",
}


def main() -> None:
    """Run with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("evaluation", type=Path, help="evaluate.json of the sweep over K")
    parser.add_argument("--consistency", type=float, required=True, help="the default K")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    source = find_checkpoint(options.run)
    spec, model = load_checkpoint(source)
    record, evaluation = read_json(source / "provenance.json"), read_json(options.evaluation)
    data = {**record["data"], "dataset": {"recipe": "recipe/chairs, train/chairs: 57 chairs, each with 7 variants"}}
    save_checkpoint(options.out, model, published(spec, options.consistency), data=data, dtype=torch.float16)
    (options.out / "evaluate.json").write_text(json.dumps(evaluation, indent=1) + "\n", encoding="utf-8")
    (options.out / "README.md").write_text(card(spec, record, evaluation, options.consistency), encoding="utf-8")


def published(spec: RunSpec, consistency: float) -> RunSpec:
    """The run's spec with the packaged dataset's name, the chosen K, and no earlier run to start from."""
    data = spec.data.model_copy(update={"path": "chairs"})
    train = spec.train.model_copy(update={"start_from": None})
    sample = spec.sample.model_copy(update={"consistency": consistency})
    return spec.model_copy(update={"data": data, "train": train, "sample": sample})


def card(spec: RunSpec, record: dict[str, Any], evaluation: dict[str, Any], consistency: float) -> str:
    """The model card."""
    settings = evaluation["settings"]
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += [_row(f"{means['consistency']:g}", means) for means in evaluation["sampled"]["means"]]
    if evaluation["real"]:
        lines.append(_row("real views", evaluation["real"]["means"]))
    return TEXT.format(
        table="\n".join(lines),
        consistency=f"{consistency:g}",
        sampling=f"{settings['scheduler']}, {settings['steps']} steps, guidance {settings['guidance']:g}",
        device=evaluation["device"],
        date=evaluation["date"][:10],
        phases=" ".join(_phase(spec)),
        objects=record["data"]["objects"],
        creators=", ".join(sorted(record["data"]["creators"])),
    )


def _row(first: str, means: dict[str, float | None]) -> str:
    values = (means[name] for name in list(COLUMNS)[1:])
    return "| " + " | ".join([first, *("-" if v is None else f"{v:.4g}" for v in values)]) + " |"


def _phase(spec: RunSpec) -> list[str]:
    """What was trained, the run that this one started from first."""
    train, earlier = spec.train, []
    if train.start_from is not None:
        earlier = _phase(load_spec(find_checkpoint(train.start_from) / "spec.json"))
    own = f"{train.steps} steps of {train.batch} objects, learning rate {spec.optimizer.lr:g}"
    return [*earlier, f"{own}, mask weight {spec.loss.mask:g}."]


TEXT = """---
license: cc-by-4.0
base_model: sd-mini
---
# chairs-mini

The packaged adapter of TuneMV3D: it makes the frozen prior `sd-mini` denoise eight views of one chair together.

    tunemv3d sample chairs-mini "a red office chair" --out samples

## Training

`tunemv3d-train chairs-mini` on one H100, on {objects} objects: 57 real chairs as modelled, repainted and rescaled
(recipe/chairs); ten chairs were held out whole. {phases}

The objects are CC0 and CC-BY works of: {creators}. CC-BY asks for attribution, so these weights are given under
CC-BY 4.0 with the creators named here.

## Figures

20 prompts that are no captions of the training data, eight views, one seed each, the same noise at every K; {sampling};
measured on {device}, {date}. The default is K = {consistency}. Every figure of every object stands in
`evaluate.json`; `pictures.webp` shows every prompt at K = 0 and at the default, nothing left out.

{table}

- hull recall: the share of a view's silhouette inside the visual hull of the other seven
- leave-one-out PSNR: seven views are fused and the eighth is rendered, dB
- opacity IoU: the field's opacity against the views' silhouettes, at latent resolution
- pose followed: the share of views that the field fits best from their own camera
- named colour: the share of objects whose commonest colour is the prompt's
"""


if __name__ == "__main__":
    main()
