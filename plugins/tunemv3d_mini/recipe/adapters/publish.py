"""Store a tuned run as the packaged adapter: half precision, the chosen K, a model card with measured figures, and
what was sampled as pictures.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tunemv3d_core.config.loading import load_spec
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.io.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from tunemv3d_core.io.json_files import read_json

SWEPT = 4
"""Prompts that are shown at every K of the sweep: the first ones."""

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


def main() -> None:
    """Run with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", choices=WORLDS)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("evaluation", type=Path, help="folder of the sweep over K: evaluate.json and pictures/")
    parser.add_argument("--consistency", type=float, required=True, help="the default K")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    source = find_checkpoint(options.run)
    spec, model = load_checkpoint(source)
    record, evaluation = read_json(source / "provenance.json"), read_json(options.evaluation / "evaluate.json")
    label = evaluation["checkpoints"][0]["label"]
    evaluation = renamed(evaluation, options.out.name)
    world = WORLDS[options.adapter]
    credits = {name: record["data"][name] for name in ("objects", "licences", "creators")}
    spec_out = published(spec, world, options.consistency)
    save_checkpoint(
        options.out, model, spec_out, data={"dataset": {"recipe": world.rendered}, **credits}, dtype=torch.float16
    )
    forget_code(options.out / "provenance.json")
    (options.out / "evaluate.json").write_text(json.dumps(evaluation, indent=1) + "\n", encoding="utf-8")
    (options.out / "README.md").write_text(
        card(options.adapter, Path(options.run), spec, record, evaluation, options.consistency), encoding="utf-8"
    )
    sheets = [Sheet(path, evaluation) for path in sorted((options.evaluation / "pictures" / label).glob("[0-9]*.png"))]
    chosen = [sheet.strips((0.0, 1), (options.consistency, 3)) for sheet in sheets]
    _save(chosen, 2, options.out / "pictures.webp")
    sweep = sorted(evaluation["checkpoints"][0]["consistency"])
    _save([sheet.strips(*((k, 1) for k in sweep)) for sheet in sheets[:SWEPT]], 2, options.out / "sweep.webp")


def renamed(evaluation: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an evaluation of one checkpoint under the name that it is published by."""
    told: dict[str, Any] = {}
    for part, entries in evaluation.items():
        if part in ("rows", "means", "paired"):
            labels = ("a", "b") if part == "paired" else ("checkpoint",)
            entries = [entry | dict.fromkeys(labels, name) for entry in entries]
        told[part] = entries
    return told | {"checkpoints": [evaluation["checkpoints"][0] | {"label": name, "name": name}]}


def forget_code(path: Path) -> None:
    """Leave out the hash of the components' code: a packaged adapter goes with the code that it is released with."""
    record = read_json(path)
    for component in record["components"].values():
        component.pop("hash", None)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


class Sheet:
    """One prompt's picture as ``tunemv3d evaluate`` wrote it: a title, then views, renders and opacity for every K."""

    TITLE = 28

    def __init__(self, path: Path, evaluation: dict[str, Any]) -> None:
        with Image.open(path) as picture:
            self.picture = picture.convert("RGB")
        self.strengths = [float(k) for k in evaluation["checkpoints"][0]["consistency"]]
        self.strip = (self.picture.height - self.TITLE) // (3 * len(self.strengths))

    def strips(self, *wanted: tuple[float, int]) -> Image.Image:
        """Cut the title and, for every wanted K, its first one to three strips."""
        boxes = [(0, self.TITLE)]
        for k, count in wanted:
            top = self.TITLE + 3 * self.strip * self.strengths.index(k)
            boxes.append((top, top + count * self.strip))
        return _stacked([self.picture.crop((0, top, self.picture.width, bottom)) for top, bottom in boxes])


def _stacked(pictures: list[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (pictures[0].width, sum(p.height for p in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    return whole


def _save(tiles: list[Image.Image], columns: int, path: Path) -> None:
    """Tiles of one size in columns."""
    width, height = tiles[0].size
    whole = Image.new("RGB", (columns * width, -(-len(tiles) // columns) * height), "white")
    for k, tile in enumerate(tiles):
        whole.paste(tile, (k % columns * width, k // columns * height))
    # Every file counts towards the repository's size; 80 pixels a view still tell what there is to see.
    whole.resize((whole.width * 5 // 8, whole.height * 5 // 8), Image.Resampling.LANCZOS).save(path, quality=70)


def published(spec: RunSpec, world: World, consistency: float) -> RunSpec:
    """Return the run's spec with the packaged dataset's name, the chosen K, and no earlier run to start from."""
    data = spec.data.model_copy(update={"path": world.dataset, "cache_latents": False})
    train = spec.train.model_copy(update={"start_from": None})
    sample = spec.sample.model_copy(update={"consistency": consistency})
    return spec.model_copy(update={"data": data, "train": train, "sample": sample})


def card(
    adapter: str, run: Path, spec: RunSpec, record: dict[str, Any], evaluation: dict[str, Any], consistency: float
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

The trainer's own measure of the run, at t = 50, 250, 500, 750 and 950 on fixed noise:

{held_out}

## Limits

{world.limits}

![every prompt at K = 0 and at the default](pictures.webp)

![four prompts at every K](sweep.webp)
"""


if __name__ == "__main__":
    main()
