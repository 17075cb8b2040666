"""What more GPUs than were measured would give, from measured steps, bytes and bandwidths: a model, not a measurement.

    python benchmarks/scaling_model.py results/scaling-h200.json [--latents 32] [--lifter copied-encoder]

It reads the rows of ``scaling.py`` for one and two GPUs of one machine. Gradients are summed in rings: each GPU sends
``2 (N - 1) / N`` times their bytes, over the links of a machine's eight GPUs together where there are several machines,
and waits ``LATENCY`` for each of its neighbours. A step takes what it takes with two GPUs, and longer where the sum
does: by the share that was visible with two, or by what has no room in the backward pass. The machines read their
objects from one disk. All else is taken as ideal: no GPU slower than another, no other traffic.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PER_MACHINE = 8
LATENCY = 20e-6
"""Seconds between neighbours in a ring across machines."""
BACKWARD = 0.5
"""Share of a step in which gradients arrive, so that their sum can hide."""
LINKS = {"100 Gbit/s": 12.5e9, "200 Gbit/s": 25e9, "400 Gbit/s": 50e9}
"""Bytes per second between machines, for each GPU."""
OBJECT_BYTES = 16 * 40e3
"""Of an object's 16 pictures of 256 pixels, as WebP; cached latents are a fifth of it."""
COUNTS = (8, 16, 64, 256)


def seconds_of_sum(count: int, gradients: float, inside: float, link: float) -> float:
    """Time of summing gradients (bytes) over GPUs, with bandwidths inside a machine and between machines."""
    bandwidth = inside if count <= PER_MACHINE else min(inside, PER_MACHINE * link)
    latency = 0.0 if count <= PER_MACHINE else 2 * (count - 1) * LATENCY
    return 2 * (count - 1) / count * gradients / bandwidth + latency


def predicted(count: int, one: Mapping[str, Any], two: Mapping[str, Any], link: float) -> dict[str, float]:
    """Objects per second, efficiency against one GPU, and bytes per second from disk, of so many GPUs."""
    gradients, alone = 4.0 * two["trained_parameters"], two["step_alone"]
    inside = gradients / two["sum_alone"]  # with two GPUs each sends the gradients' bytes once
    visible = min(1.0, max(0.0, two["step"] - alone) / two["sum_alone"])
    total = seconds_of_sum(count, gradients, inside, link)
    longer = total - seconds_of_sum(2, gradients, inside, link)
    step = two["step"] + max(visible * longer, total - BACKWARD * alone)
    objects = two["batch"] * count / step
    return {
        "objects_per_second": objects,
        "efficiency": objects / count / one["objects_per_second"],
        "disk": objects * OBJECT_BYTES,
        "sum": total,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, help="JSON that scaling.py wrote")
    parser.add_argument("--latents", type=int, default=32)
    parser.add_argument("--lifter", default="copied-encoder")
    options = parser.parse_args()
    rows = json.loads(options.rows.read_text(encoding="utf-8"))
    wanted = [r for r in rows if (r["latents"], r["lifter"], r["set"]) == (options.latents, options.lifter, [])]
    one, two = (next(row for row in wanted if row["processes"] == count) for count in (1, 2))
    print("| GPUs | link between machines | objects/s | efficiency | sum of gradients, ms | read, MB/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in COUNTS:
        for name, link in LINKS.items() if count > PER_MACHINE else [("-", 0.0)]:
            row = predicted(count, one, two, link)
            figures = f"{row['objects_per_second']:.0f} | {row['efficiency']:.2f} | {1e3 * row['sum']:.0f}"
            print(f"| {count} | {name} | {figures} | {row['disk'] / 1e6:.0f} |")


if __name__ == "__main__":
    main()
