"""Store a tuned run as the packaged adapter: half precision, the chosen K, a model card with measured figures, and
what was sampled as pictures.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from model_card import WORLDS, World, card, met
from PIL import Image

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.io.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from tunemv3d_core.io.json_files import read_json

SWEPT = 4
"""Prompts that are shown at every K of the sweep: the first ones."""


def main() -> None:
    """Run with command-line arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", choices=WORLDS)
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("evaluation", type=Path, help="folder of the sweep over K: evaluate.json and pictures/")
    parser.add_argument("text", type=Path, help="folder of an evaluation by the protocol text: evaluate.json")
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
    named = met(read_json(options.text / "evaluate.json"))
    text = card(options.adapter, Path(options.run), spec, record, evaluation, named, options.consistency)
    (options.out / "README.md").write_text(text, encoding="utf-8")
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
        component.pop("code", None)
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
    whole.resize((whole.width * 5 // 8, whole.height * 5 // 8), Image.Resampling.LANCZOS).save(
        path, quality=33, method=6
    )


def published(spec: RunSpec, world: World, consistency: float) -> RunSpec:
    """Return the run's spec with the packaged dataset's name, the chosen K, and no earlier run to start from."""
    data = spec.data.model_copy(update={"path": world.dataset, "cache_latents": False})
    train = spec.train.model_copy(update={"start_from": None})
    sample = spec.sample.model_copy(update={"consistency": consistency})
    return spec.model_copy(update={"data": data, "train": train, "sample": sample})


if __name__ == "__main__":
    main()
