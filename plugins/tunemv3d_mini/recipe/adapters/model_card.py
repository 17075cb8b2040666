"""An adapter's model card: what it was trained on, and the figures of its evaluations."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.io.checkpoint import find_checkpoint

NAMED = {
    "colour_met": "main colour",
    "type_met": "type",
    "body_colour_met": "colour of the body",
    "legs_colour_met": "colour of the legs",
    "seat_colour_met": "colour of the seat",
}

HELD_OUT = {"neus_inputs": "L_neus, input views", "neus_novel": "L_neus, novel views", "opacity_iou": "opacity IoU"}

COLUMNS = {
    "consistency": "K",
    "hull_recall": "hull recall",
    "hull_recall_cell": "within a latent cell",
    "leave_one_out": "leave-one-out PSNR",
    "opacity_iou": "opacity IoU",
    "pose_agreement": "pose followed",
    "colour_met": "named colour",
}


@dataclass(frozen=True)
class World:
    """Data of an adapter, as its model card describes it.

    Attributes:
        dataset: the packaged one.
        rendered: what the training pictures show, and where their recipe is.
        object: one of them.
        prompt: an example.
        lifter: how O was trained.
        gpu: what it was trained on.
        held_out: objects that the trainer measured.
        prompts: what the evaluation's prompts have to do with the training captions.
        limits: what it knows, and what not.
    """

    dataset: str
    rendered: str
    object: str
    prompt: str
    lifter: str
    gpu: str
    held_out: int
    prompts: str
    limits: str


LIMITS = """It knows {} in a dozen colours, on white, under one light.
Of anything else it makes smears, whatever the figures say. Colours of single parts, such as legs, are seldom met;
thin parts are soft or missing."""

WORLDS = {
    "chairs-mini": World(
        "chairs",
        "57 real chairs as modelled, repainted and rescaled (recipe/chairs); ten chairs were held out whole.",
        "chair",
        "a red office chair",
        "O is LoRA of rank 32 on the shared, frozen encoder: nearly as good as the spec's trainable copy, and smaller "
        "(recipe/adapters).",
        "H200",
        10,
        "20 prompts that are no captions of the training data",
        LIMITS.format("chairs, armchairs and stools"),
    ),
    "furniture-mini": World(
        "furniture",
        "727 real objects as modelled and once more repainted and rescaled (recipe/furniture); 48 were held out whole. "
        "The packaged dataset `furniture` has 40 of them and eight that were held out.",
        "piece of furniture",
        "a red sofa",
        "O is LoRA of rank 32 on the shared, frozen encoder.",
        "H100",
        16,
        "20 prompts, of which 17 are also captions of training objects (they are short)",
        LIMITS.format("furniture and household things of the kinds that it was trained on,"),
    ),
}


def card(
    adapter: str,
    run: Path,
    spec: RunSpec,
    record: dict[str, Any],
    evaluation: dict[str, Any],
    named: str,
    consistency: float,
) -> str:
    """Write the model card."""
    world = WORLDS[adapter]
    settings = evaluation["checkpoints"][0]["sampling"]
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|" + " --- |" * len(COLUMNS)]
    columns: dict[tuple[float, str | None], dict[str, dict[str, Any]]] = {}
    for mean in evaluation["means"]:
        columns.setdefault((float(mean["consistency"] or 0), mean["control"]), {})[mean["figure"]] = mean
    lines += [_row(f"{k:g}", columns[k, None]) for k in sorted(k for k, control in columns if control is None)]
    has_real = (0.0, "real") in columns
    if has_real:
        lines.append(_row("real views", columns[0.0, "real"]))
    return TEXT.format(
        adapter=adapter,
        world=world,
        table="\n".join(lines),
        real=REAL if has_real else "",
        named=named,
        held_out=held_out(run, world.held_out),
        consistency=f"{consistency:g}",
        sampling=f"{settings['scheduler']}, {settings['steps']} steps, guidance {settings['guidance']:g}",
        device=evaluation["device"],
        date=evaluation["date"][:10],
        phases=" ".join(_phase(spec)),
        gpu=world.gpu,
        objects=record["data"]["objects"],
        creators=", ".join(sorted(record["data"]["creators"])),
    )


def met(text: dict[str, Any]) -> str:
    """Tabulate how often samples show what their prompts name, at every K, and say how that was measured."""
    means = {(mean["figure"], mean["consistency"]): mean for mean in text["means"] if mean["control"] is None}
    strengths = sorted({k for _, k in means})
    lines = ["| K | " + " | ".join(f"{label} (of {means[name, 0]['n']})" for name, label in NAMED.items()) + " |"]
    lines.append("| --- |" + " --- |" * len(NAMED))
    for k in strengths:
        lines.append(f"| {k:g} | " + " | ".join(_told(means[name, k]) for name in NAMED) + " |")
    prompts = max(means[name, 0]["n"] for name in NAMED)
    how = (
        f"{prompts} prompts by rule, one sample each, the same noise at every K; {text['device']}, {text['date'][:10]}"
    )
    head = [
        "What the prompt names is met in these shares of the prompts that name it, by the protocol `text`:",
        f"{how}.",
    ]
    return "\n".join([*head, "", *lines])


def held_out(run: Path, objects: int) -> str:
    """Tabulate the trainer's figures on held-out objects before the first and after the last step, as a table."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    measured = [{k[9:]: v for k, v in line.items() if k.startswith("held_out/")} for line in lines]
    before, after = [figures for figures in measured if figures][:: len([f for f in measured if f]) - 1]
    rows = [(label, before[name], after[name]) for name, label in HELD_OUT.items()]
    levels = sorted((name for name in after if name.startswith("denoise/")), key=lambda name: int(name.split("=")[1]))
    rows += [
        (f"L_denoise, {name.split('/')[1]}", after[name.replace("denoise/", "denoise_frozen/")], after[name])
        for name in levels
    ]
    cells = [f"| {label} | {first:.4f} | {last:.4f} | {last / first - 1:+.1%} |" for label, first, last in rows]
    head = [
        f"| {objects} held-out objects | before (L_denoise: the frozen model) | after | change |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *cells])


def _row(first: str, means: dict[str, dict[str, Any]]) -> str:
    return "| " + " | ".join([first, *(_told(means.get(name)) for name in list(COLUMNS)[1:])]) + " |"


def _told(mean: dict[str, Any] | None) -> str:
    """Write a mean with its 95 % interval."""
    if mean is None or mean["mean"] is None:
        return "-"
    interval = "" if mean["low"] is None else f" ({mean['low']:.3g} to {mean['high']:.3g})"
    return f"{mean['mean']:.4g}{interval}"


def _phase(spec: RunSpec) -> list[str]:
    """Describe what was trained, beginning with the run that this one started from."""
    train, earlier = spec.train, []
    if train.start_from is not None:
        earlier = _phase(load_spec(find_checkpoint(train.start_from) / "spec.json", saved=True))
    own = f"{train.steps} steps of {train.batch} objects, learning rate {spec.optimizer.lr:g}"
    weights = f"weights of mask and eikonal term {spec.loss.mask:g} and {spec.loss.scene['eikonal']:g}"
    return [*earlier, f"{own}, {_course(spec)}, {weights}."]


def _course(spec: RunSpec) -> str:
    """The learning rate's course in words."""
    return {"constant": "constant after its warm-up", "cosine": "falling over the last 40 % of the steps"}[
        spec.optimizer.schedule
    ]


REAL = """"real views" are the packaged dataset's held-out objects: their own pictures, passed through the autoencoder,
in place of samples.

"""

TEXT = """---
license: cc-by-4.0
base_model: sd-mini
---
# {adapter}

A packaged adapter of TuneMV3D: it makes the frozen prior `sd-mini` denoise eight views of one {world.object} together.

    tunemv3d sample {adapter} "{world.prompt}" --out samples

## Training

`tunemv3d-train {adapter}` on one {gpu}, on {objects} objects: {world.rendered}
{phases} {world.lifter}

The objects are CC0 and CC-BY works of: {creators}. CC-BY asks for attribution, so these weights are given under
CC-BY 4.0 with the creators named here.

## Figures

{world.prompts}; eight views, one seed each, the same noise at every K; {sampling};
measured on {device}, {date}. The default is K = {consistency}. Every figure of every object stands in
`evaluate.json`; in brackets, 95 % intervals over the prompts. `pictures.webp` shows every prompt, nothing left out:
the views at K = 0, then views, the field's renders and its opacity at the default. `sweep.webp` shows the first four
prompts at every K.

{table}

{real}- hull recall: the share of a view's silhouette inside the visual hull of the other seven
- leave-one-out PSNR: seven views are fused and the eighth is rendered, dB
- opacity IoU: the field's opacity against the views' silhouettes, at latent resolution
- pose followed: the share of views that the field fits best from their own camera
- named colour: the share of objects whose commonest colour is the prompt's

{named}

The trainer's own measure of the run, at t = 50, 250, 500, 750 and 950 on fixed noise:

{held_out}

## Limits

{world.limits}

![every prompt at K = 0 and at the default](pictures.webp)

![four prompts at every K](sweep.webp)
"""
