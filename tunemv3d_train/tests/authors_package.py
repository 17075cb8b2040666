"""A package of somebody else's: one of everything that an author may bring to training; and a spec that has it all."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from train_stand_ins import TinyField

from tunemv3d_core.config.component_spec import ComponentSpec, LossTermSpec
from tunemv3d_core.devices import preferred_device
from tunemv3d_core.io.depth_normals import save_depth
from tunemv3d_core.plugins.descriptor import ComponentPlugin
from tunemv3d_core.slots import OptimizerContext, Prediction, Targets


class DepthSpec(LossTermSpec):
    of: str = "depth"


class Depth:
    """A loss on rendered depth, where the dataset's views hit something."""

    def __init__(self, needs: str) -> None:
        self.needs = (needs,)
        self.progress = torch.zeros((), device=preferred_device())
        self.shown: dict[str, Tensor] = {}

    def on_step(self, step: int, steps: int) -> None:
        self.progress.fill_(step / steps)

    def __call__(self, prediction: Prediction, targets: Targets) -> Tensor:
        assert prediction.rendering is not None and prediction.novel is not None
        true, novel = targets.maps[self.needs[0]][:, :, 0], targets.novel_maps[self.needs[0]][:, :, 0]
        errors = (prediction.rendering.depth - true).abs() * true.gt(0)
        shown = true[0, 0] / 4
        seen, new = (depth.sum() / depth.gt(0).sum() for depth in (true, novel))
        self.shown = {"seen": seen, "novel": new, "map": shown.expand(3, -1, -1)}
        return errors.mean((2, 3)) * (0.5 + self.progress)

    def report(self) -> Mapping[str, Tensor]:
        return self.shown


class StepsSpec(ComponentSpec):
    every: int = 2


class Heavy(torch.optim.Optimizer):
    """Signs of a running mean, in plain torch: it knows nothing of ``found_inf``."""

    def __init__(self, groups: Any, decay: float) -> None:
        super().__init__(groups, {"lr": 1.0, "weight_decay": 0.0})
        self.decay = decay

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros_like(parameter))
                state["count"] = state.get("count", 0) + 1
                mean.lerp_(parameter.grad, 1 - self.decay)
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * mean.sign())


class HeavySpec(ComponentSpec):
    decay: float = 0.5


class Annealed(TinyField):
    """A field whose output is let in over the first half of the run, and that counts its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("drawn", torch.zeros(3))

    def on_step(self, step: int, steps: int) -> None:
        self.level.fill_(min(1.0, 2 * step / steps))
        self.drawn.mul_(0.5).add_(torch.rand(3).to(self.drawn.device))

    def fuse(self, features: Tensor, cameras: Any, t: Tensor) -> Any:
        return super().fuse(features * (0.1 + self.level) + self.drawn.mean() / 100, cameras, t)

    def report(self) -> Mapping[str, Tensor]:
        return {"level": self.level}


class Attributed(TinyField):
    """A field that keeps what it changes where no captured step sees it."""

    def on_step(self, step: int, steps: int) -> None:
        self.level = step


def build_depth(spec: DepthSpec, context: Any) -> Depth:
    return Depth(spec.of)


def build_steps(spec: StepsSpec) -> Any:
    return lambda step, steps: 0.5 ** (step // spec.every)


def build_broken(spec: ComponentSpec) -> Any:
    return lambda step, steps: math.nan


def build_heavy(spec: HeavySpec, groups: list[dict[str, Any]], context: OptimizerContext) -> Heavy:
    return Heavy(groups, spec.decay)


def build_annealed(*_: object) -> nn.Module:
    return Annealed()


def build_attributed(*_: object) -> nn.Module:
    return Attributed()


PUBLISHED = {
    "loss": {"depth": DepthSpec},
    "schedule": {"steps": StepsSpec, "broken": ComponentSpec},
    "optimizer": {"heavy": HeavySpec},
    "field": {"annealed": ComponentSpec, "attributed": ComponentSpec},
}
for _slot, _named in PUBLISHED.items():
    for _name, _spec in _named.items():
        globals()[_name.upper()] = ComponentPlugin(
            _slot, _name, "1.0", _spec, f"{__name__}:build_{_name}", "An author's"
        )


def entry_points() -> dict[str, dict[str, str]]:
    """What the package's metadata says."""
    return {f"tunemv3d.{slot}": {n: f"{__name__}:{n.upper()}" for n in named} for slot, named in PUBLISHED.items()}


FAR = 2.5
"""Depth of whatever the tiny dataset's views hit."""

AUTHORS = {
    "model": {"field": {"type": "annealed"}},
    "loss": {"terms": {"far": {"type": "depth", "weight": 0.3}}},
    "optimizer": {
        "schedule": {"type": "steps", "every": 3},
        "parts": {
            "field": {"algorithm": {"type": "heavy"}, "schedule": {"type": "cosine"}, "weight_decay": 0.1},
            "injector": {"algorithm": {"type": "heavy", "decay": 0.9}, "warmup": 3},
        },
    },
    "train": {"preview_every": 3},
}


def with_depth(dataset: Path) -> Path:
    """Write depth beside a dataset's pictures: ``FAR`` where they show something."""
    for record in dataset.glob("objects/*/transforms.json"):
        content = json.loads(record.read_text())
        for frame in content["frames"]:
            with Image.open(record.parent / frame["file_path"]) as picture:
                alpha = np.asarray(picture)[..., 3] > 0
            frame["depth_file_path"] = frame["file_path"].replace(".webp", ".depth.png")
            save_depth(record.parent / frame["depth_file_path"], FAR * alpha)
        record.write_text(json.dumps(content))
    return dataset
