"""What the parts of a training step of a packaged spec cost on a CPU: ``python benchmarks/training_step.py [SPEC]``.

Prints JSON: seconds of wall time, the mean of four calls after one that is not counted, one object of random latents.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

from tunemv3d_core.assemble import assemble
from tunemv3d_core.cameras import Cameras
from tunemv3d_core.spec import load_spec
from tunemv3d_train.step import TrainingStep

REPEATS = 4


def seconds(run: Callable[[], object]) -> float:
    run()
    start = time.perf_counter()
    for _ in range(REPEATS):
        run()
    return round((time.perf_counter() - start) / REPEATS, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="chairs-mini")
    parser.add_argument("--set", action="append", default=[], help="override, such as model.field.samples=24")
    options = parser.parse_args()
    torch.manual_seed(0)
    spec = load_spec(options.spec, options.set)
    model = assemble(spec.model).train()
    n, m, size = spec.views.inputs, spec.views.novel, model.backbone.ports.latent_size
    latents = torch.randn(1, n + m, model.backbone.ports.latent_channels, size, size)
    t, text = torch.full((1, n), 500.0), model.backbone.encode_text(["a red chair"])
    cameras = Cameras.orbit(n + m)[None].expand(1, n + m)
    cells = max(1, round(spec.views.novel_pixels * size * size))
    batch = {
        "latents": latents,
        "alpha": torch.rand(1, n + m, size, size),
        "noise": torch.randn_like(latents[:, :n]),
        "t": t,
        "clean": torch.zeros(1, n, dtype=torch.bool),
        "poses": cameras.camera_to_world,
        "intrinsics": cameras.intrinsics,
        "tokens": text.tokens,
        "novel_pixels": torch.rand(1, m, size * size).argsort(-1)[..., :cells],
    }
    step = TrainingStep(model, n, spec.loss).train()
    views = latents[:, :n]
    guess = views if model.view_encoder.ports.guess else None
    with torch.no_grad():
        features = model.view_encoder(views, t, text, cameras[:, :n], guess)

    novel_pixels = torch.rand(1, m, cells, 2)

    def field() -> None:
        scene = model.field.fuse(features.requires_grad_(), cameras[:, :n], t.amax(1))
        seen = scene.render(cameras[:, :n], (size, size)), scene.render(cameras[:, n:], (size, size), novel_pixels)
        sum(r.values.square().mean() + r.opacity.mean() for r in seen).backward()

    with torch.no_grad():
        frozen = seconds(lambda: model.frozen(views, t, text))
    parts = {
        "frozen_forward": frozen,
        "view_encoder": seconds(lambda: model.view_encoder(views, t, text, cameras[:, :n], guess).sum().backward()),
        "lifter": seconds(lambda: sum(z.sum() for z in model.lifter(views, views, t, text)).backward()),
        "field": seconds(field),
        "step": seconds(lambda: step(**batch)[0].backward()),
    }
    print(json.dumps({"spec": options.spec, "set": options.set, "threads": torch.get_num_threads(), "seconds": parts}))


if __name__ == "__main__":
    main()
