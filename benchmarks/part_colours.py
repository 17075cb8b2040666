"""How often the rule of the metric ``part-colours`` is right on real renders whose captions name a part's colour.

Run it as ``python benchmarks/part_colours.py [DATASET ...] [--json part-colours.json]``; datasets are folders of posed
images, or packaged ones by name. Each object is asked by the caption that names most.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from tunemv3d_core.assemble import build_component
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.slots import Dataset, MeasuredObject
from tunemv3d_eval.metrics.part_colours import PartColours
from tunemv3d_eval.metrics.silhouettes import silhouettes
from tunemv3d_eval.protocols.worded import named
from tunemv3d_eval.statistics.shares import share_interval
from tunemv3d_train.plugin import MULTIVIEW


def asked(record: PosedImages) -> str:
    """The caption that names most parts, then the longest."""
    return max(record.captions, key=lambda caption: (len(named(caption).parts), len(caption)))


def figures(metric: PartColours, dataset: Dataset, index: int) -> dict[str, Any]:
    record = dataset.record(index)
    views = dataset.views(index, list(range(record.views)))
    images = views.images[0]
    real = MeasuredObject(asked(record), images, silhouettes(images), images, record.cameras)
    return {"object": record.id, "caption": real.prompt, **metric.measure(real, None)}  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", default=["chairs", "furniture"])
    parser.add_argument("--json", type=Path, help="write every object's figures here")
    options = parser.parse_args()
    metric, rows = PartColours(), []
    for path in options.datasets:
        dataset: Dataset = build_component("dataset", MULTIVIEW.spec(type="multiview", path=path))
        rows += [{"dataset": path, **figures(metric, dataset, index)} for index in range(len(dataset))]
    for name in metric.figures:
        met = np.array([row[name] for row in rows if row[name] is not None])
        low, high = share_interval(met, np.ones_like(met))
        print(f"{name}: {met.sum():.0f} of {len(met)}, {met.mean():.2f} [{low:.2f}, {high:.2f}]")
    if options.json is not None:
        options.json.write_text(json.dumps({"objects": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
