"""How many objects a second the reader of shards gives, through the trainer's own path: draws, threads, decoding.

Run it as ``python benchmarks/streaming.py DATASET [--views 16] [--workers 1,2,3] [--runs 5] [--seconds 4]``, where
DATASET is a packaged dataset's name or a folder with pictures.

The dataset is packed twice into a temporary folder: as pictures, and with random numbers in place of latents
(4 x H/8 x W/8), which cost the reader as much. Files are warm; a dataset of more than 128 objects has every record
parsed and every picture decoded anew at every visit.
Of several runs the best counts, because others may use the machine; ``cpu`` is the processor time an object.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.io.shards import PackedLatents, ShardIndex, write_index
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.plugins.registry import registry
from tunemv3d_core.slots import Dataset
from tunemv3d_data.shards.job import PackJob, run_pack
from tunemv3d_data.shards.plan import plan
from tunemv3d_data.shards.writer import write_shard
from tunemv3d_train.batch_sampler import Sampler
from tunemv3d_train.shards import ShardedImages, build
from tunemv3d_train.spec import ShardsSpec
from tunemv3d_train.streaming import ReadAhead, StreamedLatents

KEY, BATCH = "random", 4


class NoEncoder:
    """Stands for the backbone, whose encoding is no part of reading."""

    def latent_key(self) -> str:
        """That of the random latents."""
        return KEY

    def encode_images(self, images: Tensor) -> Tensor:
        """Zeros of the latents' size."""
        return images.new_zeros(*images.shape[:2], 4, images.shape[3] // 8, images.shape[4] // 8)


def pack_latents(folder: Path, out: Path, job: PackJob) -> None:
    """Pack with random latents."""
    options: Any = registry().get("dataset", "multiview").plugin.spec
    dataset: Dataset = build_component("dataset", options(type="multiview", path=str(folder)))
    h, w = (side // 8 for side in dataset.record(0).size)

    def encode(index: int) -> bytes:
        n = dataset.record(index).views
        return save({"latents": torch.randn(n, 4, h, w), "alpha": torch.rand(n, h, w)})

    out.mkdir()
    shards, objects = [], []
    for number, planned in enumerate(plan(folder, dataset, "bench", job.full, extra=20 * h * w)):
        shard, packed = write_shard(out / planned.file, planned, number, dataset.record, encode, "", lambda: None)
        shards.append(shard)
        objects += packed
    size = dataset.record(0).size
    write_index(out / "shards.json", ShardIndex("bench", size, PackedLatents(KEY, (4, h, w)), shards, objects))


def rate(dataset: ShardedImages, views: int, workers: int, seconds: float) -> tuple[float, float]:
    """Objects a second, and processor seconds an object."""
    latents = StreamedLatents(dataset, NoEncoder(), torch.device("cpu"))  # type: ignore[arg-type]
    counts = ViewsSpec(inputs=views // 2, novel=views - views // 2, novel_pixels=0.25)
    _, h, w = latents.shape
    options = {"seed": 0, "batch": BATCH, "timesteps": 1000, "cells": h * w}
    sampler = Sampler(dataset, dataset.splits()["train"], counts, **options)  # type: ignore[arg-type]
    ahead = ReadAhead(sampler, latents, dataset.expect, 10**9, workers)
    objects = len(dataset.splits()["train"])
    step, began, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds or step * BATCH < objects:
        ahead.draw(step)
        step += 1
    passed, used = time.perf_counter() - began, time.process_time() - used
    ahead.close()
    return step * BATCH / passed, used / (step * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--views", type=int, default=16)
    parser.add_argument("--workers", default="1,2,3")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = find_asset(options.dataset)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        job = PackJob(folder, Path(place) / "pictures", shard_bytes=16_000_000)
        run_pack(job, lambda total: None, lambda count: None)
        pack_latents(folder, Path(place) / "latents", job)
        for kind in ("pictures", "latents"):
            dataset = build(ShardsSpec(type="shards", path=f"{place}/{kind}"))
            for workers in map(int, options.workers.split(",")):
                runs = [rate(dataset, options.views, workers, options.seconds) for _ in range(options.runs)]
                rates, used = [round(r, 1) for r, _ in runs], 1e3 * min(c for _, c in runs)
                row = {"kind": kind, "workers": workers, "objects_per_s": max(rates), "cpu_ms": round(used, 3)}
                row["all"] = rates
                rows.append(row)
                print(json.dumps(row), flush=True)
        size, count = dataset.picture_size(), len(dataset)
    head = {
        "date": datetime.now(UTC).date().isoformat(),
        "device": f"{os.cpu_count()} CPU cores ({platform.machine()})",
        "load": os.getloadavg(),
        "torch": torch.__version__,
        "dataset": {"objects": count, "size": size, "views": options.views, "batch": BATCH},
    }
    print(json.dumps(head | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
