"""Store a tuned run as the packaged adapter: half precision, the chosen K, a model card with measured figures."""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from tunemv3d_core.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from tunemv3d_core.posed_images import read_json
from tunemv3d_core.spec import RunSpec

COLUMNS = {
    "consistency": "K",
    "hull_recall": "hull recall",
    "leave_one_out": "leave-one-out PSNR",
    "opacity_iou": "opacity IoU",
    "pose_agreement": "pose followed",
    "colour": "named colour",
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
    """The run's spec with the packaged data set's name and the chosen K."""
    data = spec.data.model_copy(update={"path": "chairs"})
    return spec.model_copy(update={"data": data, "sample": spec.sample.model_copy(update={"consistency": consistency})})


def card(spec: RunSpec, record: dict[str, Any], evaluation: dict[str, Any], consistency: float) -> str:
    """The model card."""
    rows = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + " --- |" * len(COLUMNS)]
    for entry in evaluation["means"]:
        cells = [entry.get(name) for name in COLUMNS]
        rows.append("| " + " | ".join("" if c is None else f"{c:.3g}" if c > 10 else f"{c:.3f}" for c in cells) + " |")
    return TEXT.format(
        table="\n".join(rows),
        steps=spec.train.steps,
        batch=spec.train.batch,
        consistency=consistency,
        device=evaluation["device"],
        date=evaluation["date"],
        objects=record["data"]["objects"],
        creators=", ".join(sorted(record["data"]["creators"])),
    )


TEXT = """---
license: cc-by-4.0
base_model: sd-mini
---
# chairs-mini

The packaged adapter of TuneMV3D: it makes the frozen prior `sd-mini` denoise eight views of one chair together.

    tunemv3d sample chairs-mini "a red office chair" --out samples

## Training

`tunemv3d-train chairs-mini` with {steps} steps of {batch} objects, on {objects} objects: 57 real chairs as modelled and repainted
and rescaled (recipe/chairs). Ten chairs were held out whole. The objects are CC0 and CC-BY works of: {creators}.
CC-BY asks for attribution, so these weights are given under CC-BY 4.0 with the creators named here.

## Figures

20 prompts that are no captions of the training data, eight views, one seed, the same noise at every K; measured on {device},
{date}. The default is K = {consistency}. Everything that was sampled stands in `evaluate.json`.

{table}

Hull recall: the share of a view's silhouette inside the visual hull of the other seven. Leave-one-out: seven views are fused
and the eighth is rendered, in dB. Opacity IoU: the field's opacity against the views' silhouettes. Pose followed: the share of views
whose own camera fits the field best. Named colour: the share of objects whose colour is the prompt's.

![every prompt](pictures.png)
"""


if __name__ == "__main__":
    main()
