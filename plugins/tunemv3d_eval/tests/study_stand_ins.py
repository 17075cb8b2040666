"""Stand-ins for the commands that a study runs: they leave the files of training and evaluation within moments.

    python study_stand_ins.py train SPEC --out RUN --set a.b=value ... [--resume]
    python study_stand_ins.py evaluate CHECKPOINT ... --protocol P --out OUT [--consistency K]

The figure ``quality`` of a checkpoint at step s is ``OFFSETS[spec] + s / 1000``, with a deviation of each prompt's own
that all checkpoints share, so that differences are known. A run called "bad" fails, and one called "slow" waits to be
asked to end, a minute at most.
The metric of a run called "odd" has another model.
"""

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

OFFSETS = {"chairs-mini": 0.5, "ablation-no-raw-noise-mini": 0.2, "baseline-2d-mini": 0.1}
PROMPTS = [f"chair {i}" for i in range(8)]


def spec_of(checkpoint: Path) -> str:
    return str(json.loads((checkpoint / "provenance.json").read_text())["spec"])


def train(words: list[str]) -> int:
    spec, out = words[0], Path(words[words.index("--out") + 1])
    sets = dict(words[i + 1].split("=", 1) for i, word in enumerate(words) if word == "--set")
    if out.name.startswith("bad"):
        print("error: the loss is not finite")
        return 2
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    steps, every = int(sets["train.steps"]), int(sets["train.checkpoint_every"])
    resumed, until = "--resume" in words, time.monotonic() + 60
    for step in range(every, steps + 1, every):
        folder = out / "checkpoints" / f"step-{step:06d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "provenance.json").write_text(json.dumps({"spec": spec}))
        while out.name.startswith("slow") and not resumed and not stopped and time.monotonic() < until:
            time.sleep(0.02)
        if stopped:
            return 130
    line = {"step": steps, "held_out/neus": 0.25, "held_out/neus/t=50": 0.2}
    (out / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return 0


def evaluate(words: list[str]) -> int:
    checkpoints = [Path(word) for word in words[: words.index("--protocol")]]
    out = Path(words[words.index("--out") + 1])
    given = words[words.index("--consistency") + 1] if "--consistency" in words else "1"
    labels = [f"{path.parents[1].name}-{path.name}" for path in checkpoints]
    rows, index, means = list[dict](), list[dict](), list[dict]()
    for label, path in zip(labels, checkpoints, strict=True):
        spec = spec_of(path)
        for k in [0.0] if spec == "baseline-2d-mini" else [float(word) for word in given.split(",")]:
            for number, prompt in enumerate(PROMPTS):
                quality = OFFSETS[spec] + int(path.name[5:]) / 1000 + 0.01 * number
                row = {"checkpoint": label, "consistency": k, "prompt": prompt, "seed": number, "control": None}
                rows.append({**row, "error": None, "quality": quality, "seldom": None})
                images = np.full((3, 3, 8, 8), 20 * number, np.uint8)
                file = out / "samples" / label / f"K{k:g}" / f"{number:03d}-{number:03d}.safetensors"
                file.parent.mkdir(parents=True, exist_ok=True)
                save_file({"images": images}, file)
                sample = {"file": str(file.relative_to(out)), "checkpoint": label, "consistency": k, "prompt": prompt}
                index.append({**sample, "seed": number, "error": None})
            about = {"checkpoint": label, "consistency": k, "control": None}
            means.append({**about, "figure": "of_a_set", "mean": OFFSETS[spec], "n": 8})
        rows.append({**rows[-1], "control": "noise", "quality": 0.0})
        means.append({**about, "control": "noise", "figure": "quality", "mean": 0.0, "low": 0.0, "high": 0.1, "n": 8})
    figure = {"summary": "how good", "higher_is_better": True, "low": 0, "high": 9, "metric": "toy"}
    content = {
        "format": "tunemv3d-evaluation/2",
        "protocol": {"name": words[words.index("--protocol") + 1]},
        "device": "cpu (toy)",
        "versions": {"torch": "9.9"},
        "checkpoints": [{"label": label, "base": "sd-mini"} for label in labels],
        "figures": {"quality": figure, "seldom": {**figure, "higher_is_better": False}, "of_a_set": figure},
        "metrics": {"toy": {"models": ["another"] if "odd" in labels[0] else []}},
        "rows": rows,
        "means": means,
        "useless": {"seldom": "nothing has it"},
        "warnings": [],
        "skipped": {"pose": "needs a field"} if "plain" in labels[0] else {},
        "failed": {"seldom": [{"where": "chair 1", "error": "no colour"}] * 2} if "baseline" in labels[0] else {},
    }
    (out / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in index))
    (out / "evaluate.json").write_text(json.dumps(content))
    return 0


if __name__ == "__main__":
    sys.exit({"train": train, "evaluate": evaluate}[sys.argv[1]](sys.argv[2:]))
