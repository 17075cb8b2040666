"""Are coarse and fine samples sharper than as many even ones? On a CPU, in three parts (all by default).

rules: a chair given by a formula, with legs 0.06 thick, against 2,048 even samples, at equal numbers of evaluations.
cost: seconds of rendering and of training with the network of chairs-mini.
trained: the field alone, overfitted to one packaged chair with thin legs from its clean latents, then seen from
held-out cameras, as it was trained and by 256 even samples.

Run it as ``python benchmarks/sharper_field.py [--parts rules,cost,trained] [--json sharper-field.json]``.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy, logsigmoid

from tunemv3d_core.cameras import Cameras, intersect_sphere
from tunemv3d_core.plugins.assets import find_asset
from tunemv3d_core.ports import FieldPorts
from tunemv3d_core.rendering.volume import RayOutputs, composite_sdf, importance_sample, sample_along_rays
from tunemv3d_neus.aggregator import MeanVariance
from tunemv3d_neus.field import NeuSField
from tunemv3d_neus.spec import MeanVarianceSpec, NeuSSpec

RADIUS, SIZE = 0.92, (32, 32)
INV_S = (20.0, 64.0, 300.0)
PLANS = ((24, 0), (8, 16), (12, 12), (40, 0), (16, 24))
OBJECTS = ("scopia-tubular-chair", "blend-swap-cc-0-thonet")
Rule = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]

SEAT, LEG, SLAT, RAIL = (0.38, 0.38, 0.04), (0.03, 0.03, 0.3), (0.04, 0.03, 0.3), (0.38, 0.03, 0.05)
BOXES = [
    ((0, 0, 0), SEAT),
    *[((x, y, -0.33), LEG) for x in (-0.33, 0.33) for y in (-0.33, 0.33)],
    *[((x, 0.34, 0.33), SLAT) for x in (-0.3, -0.1, 0.1, 0.3)],
    ((0, 0.34, 0.6), RAIL),
]
"""The chair: centres and half-edges, world units."""


def chair(points: Tensor) -> Tensor:
    """Signed distance ``... 3`` to ``...``."""
    each = []
    for centre, half in BOXES:
        beyond = (points - points.new_tensor(centre)).abs() - points.new_tensor(half)
        each.append(beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0))
    return torch.stack(each).amin(0)


class ChairRays:
    """Six views of the chair: the rays that hit the sphere, and what they see by a rule of sampling."""

    def __init__(self) -> None:
        rays = Cameras.orbit(6, elevation=15.0, azimuth=10.0).rays(SIZE)
        near, far, hit = intersect_sphere(rays, RADIUS)
        self.origins, self.directions, self.near, self.far = (
            z[hit] for z in (rays.origins, rays.directions, near, far)
        )

    def look(self, depths: Tensor) -> tuple[Tensor, Tensor]:
        """Signed distances ``r s`` and values ``r s 3`` (stripes)."""
        points = self.origins[:, None] + depths[..., None] * self.directions[:, None]
        return chair(points), torch.sin(12 * points)

    def even(self, samples: int, s: float) -> RayOutputs:
        """What they see by even samples."""
        depths = sample_along_rays(self.near, self.far, samples, jitter=False)
        return composite_sdf(*self.look(depths), depths, torch.tensor(s))

    def refined(self, samples: int, fine_samples: int, s: float, rule: Rule, reuse: bool = True) -> RayOutputs:
        """What they see by coarse samples and further ones where a rule wants them."""
        depths = sample_along_rays(self.near, self.far, samples, jitter=False)
        distances, values = self.look(depths)
        lengths = depths.diff(dim=-1) * self.directions.norm(dim=-1, keepdim=True)
        fine = rule(distances, depths, lengths, torch.tensor(s), fine_samples)
        more, more_values = self.look(fine)
        if not reuse:
            return composite_sdf(more, more_values, fine, torch.tensor(s))
        depths, order = torch.cat([depths, fine], dim=-1).sort(dim=-1)
        distances = torch.cat([distances, more], dim=-1).gather(-1, order)
        values = torch.cat([values, more_values], dim=-2)
        return composite_sdf(distances, values.gather(-2, order[..., None].expand_as(values)), depths, torch.tensor(s))


def by_bound(distances: Tensor, depths: Tensor, lengths: Tensor, s: Tensor, samples: int) -> Tensor:
    """Ours: what a section may hold at most."""
    return importance_sample(distances, depths, lengths, s, samples, jitter=False)


def by_weights(distances: Tensor, depths: Tensor, lengths: Tensor, s: Tensor, samples: int) -> Tensor:
    """NeRF's: the weights of the coarse sections."""
    logs = logsigmoid(s * distances)
    passed = (logs[..., 1:] - logs[..., :-1]).clamp(max=0)
    return draw(depths, (passed.cumsum(-1) - passed).exp() * -torch.expm1(passed), samples)


def by_slopes(distances: Tensor, depths: Tensor, lengths: Tensor, s: Tensor, samples: int) -> Tensor:
    """NeuS's: slopes are carried on from the section before, at a raised variance of at least 64."""
    s = s.clamp(min=64)
    slope = distances.diff(dim=-1) / (lengths + 1e-5)
    slope = torch.minimum(slope, torch.cat([torch.zeros_like(slope[:, :1]), slope[:, :-1]], dim=-1)).clamp(-1e3, 0)
    middle, half = (distances[:, 1:] + distances[:, :-1]) / 2, slope * lengths / 2
    before, after = torch.sigmoid(s * (middle - half)), torch.sigmoid(s * (middle + half))
    alpha = (before - after + 1e-5) / (before + 1e-5)
    through = torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-7], dim=-1).cumprod(-1)[:, :-1]
    return draw(depths, alpha * through, samples)


def draw(depths: Tensor, shares: Tensor, samples: int) -> Tensor:
    """The middles of equal strata of the sections' shares."""
    reached = torch.nn.functional.pad((shares + 1e-5).cumsum(-1), (1, 0))
    reached = reached / reached[:, -1:]
    drawn = ((torch.arange(samples) + 0.5) / samples).expand(len(depths), samples).contiguous()
    section = torch.searchsorted(reached, drawn, right=True).clamp(1, shares.shape[-1])
    low, high = reached.gather(-1, section - 1), reached.gather(-1, section)
    near, far = depths.gather(-1, section - 1), depths.gather(-1, section)
    return near + (far - near) * ((drawn - low) / (high - low)).clamp(0, 1)


def rules() -> list[dict[str, Any]]:
    rays = ChairRays()
    exact = {s: rays.even(2048, s) for s in INV_S}
    rows: list[dict[str, Any]] = []
    for samples, fine in PLANS:
        ways: dict[str, Callable[[float], RayOutputs]] = {"even": lambda s, n=samples: rays.even(n, s)}
        if fine:
            ways = {
                rule.__name__: lambda s, n=samples, k=fine, rule=rule: rays.refined(n, k, s, rule)
                for rule in (by_bound, by_slopes, by_weights)
            }
            ways["by_bound, coarse ones not composited"] = lambda s, n=samples, k=fine: rays.refined(
                n, k, s, by_bound, reuse=False
            )
        for name, way in ways.items():
            row = {"samples": samples, "fine_samples": fine, "rule": name}
            rows.append(row | {f"s={s:.0f}": errors(way(s), exact[s]) for s in INV_S})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def errors(seen: RayOutputs, exact: RayOutputs) -> dict[str, float]:
    """Mean absolute errors; depth where both see the chair; the share of the silhouettes' union that is not shared."""
    solid, ours = exact.opacity > 0.5, seen.opacity > 0.5
    both = solid & (seen.opacity > 0.05)
    found = {
        "opacity": (seen.opacity - exact.opacity).abs().mean(),
        "depth": (seen.depth - exact.depth)[both].abs().mean(),
        "values": (seen.values - exact.values).abs().mean(),
        "silhouette": 1 - (solid & ours).sum() / (solid | ours).sum(),
    }
    return {name: round(float(value), 4) for name, value in found.items()}


def small_field(samples: int, fine_samples: int, features: int) -> NeuSField:
    """A field of the size of chairs-mini's."""
    spec = NeuSSpec(
        type="neus",
        aggregator=MeanVarianceSpec(type="mean-variance"),
        hidden=64,
        blocks=3,
        samples=samples,
        fine_samples=fine_samples,
        variance=0.2,
        radius=RADIUS,
    )
    return NeuSField(spec, FieldPorts(features, "latents", 4), MeanVariance(features))


def cost() -> list[dict[str, Any]]:
    rows = []
    features, cameras = torch.randn(1, 8, 16, *SIZE), Cameras.orbit(8)[None]
    for samples, fine in PLANS:
        field = small_field(samples, fine, 16)

        def render(field: NeuSField = field) -> Tensor:
            seen = field.fuse(features, cameras, torch.zeros(1)).render(cameras, SIZE)
            return seen.values.abs().mean() + seen.opacity.mean()

        row: dict[str, Any] = {"samples": samples, "fine_samples": fine}
        row["train_s"] = least_seconds(lambda render=render: render().backward())
        with torch.no_grad():
            row["render_s"] = least_seconds(render)
        rows.append(row)
        print(json.dumps(row), flush=True)
    return rows


def least_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """The least processor time of a call: it does not count what else the machine does."""
    times = []
    for _ in range(repeats + 1):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return round(min(times[1:]), 3)


def trained(steps: int, seeds: int) -> list[dict[str, Any]]:
    from tunemv3d_core.assemble import assemble
    from tunemv3d_core.config.loading import load_spec
    from tunemv3d_train.multiview import MultiviewImages

    dataset = MultiviewImages(find_asset("chairs"))
    backbone = assemble(load_spec("chairs-mini", []).model).backbone
    rows = []
    for index in (i for i in range(len(dataset)) if dataset.record(i).id in OBJECTS):
        views = dataset.views(index, list(range(16)))
        with torch.no_grad():
            latents = backbone.encode_images(views.images)
        alpha = adaptive_avg_pool2d(views.alpha, SIZE)
        for seed in range(seeds):
            for samples, fine in ((24, 0), (8, 16), (40, 0)):
                torch.manual_seed(seed)
                row: dict[str, Any] = {"object": views.ids[0], "seed": seed, "samples": samples, "fine_samples": fine}
                rows.append(row | overfit(small_field(samples, fine, 5), latents, alpha, views.cameras, steps))
                print(json.dumps(rows[-1]), flush=True)
    return rows


def overfit(field: NeuSField, latents: Tensor, alpha: Tensor, cameras: Cameras, steps: int) -> dict[str, Any]:
    """Even views are seen and trained on at 128 cells each; odd views are held out and measured whole."""
    seen, held = slice(0, None, 2), slice(1, None, 2)
    known = torch.cat([latents, alpha[:, :, None]], dim=2)[:, seen]
    variance = [field.variance]
    others = [p for name, p in field.named_parameters() if name != "variance"]
    optimizer = torch.optim.AdamW([{"params": others}, {"params": variance, "lr": 1e-2}], lr=3e-3)
    h, w = SIZE
    start = time.process_time()
    field.train()
    for _ in range(steps):
        cells = torch.rand(1, latents[:, seen].shape[1], h * w).argsort(-1)[..., :128]
        at = torch.stack([(cells % w + 0.5) / w, (cells // w + 0.5) / h], dim=-1)
        scene = field.fuse(known, cameras[:, seen], torch.zeros(1))
        got = scene.render(cameras[:, seen], SIZE, at)
        target = latents[:, seen].flatten(3).gather(3, cells[:, :, None].expand(-1, -1, 4, -1))
        mask = alpha[:, seen].flatten(2).gather(2, cells)
        loss = (got.values - target).abs().mean()
        loss = loss + 0.5 * binary_cross_entropy(got.opacity.clamp(1e-4, 1 - 1e-4), mask)
        optimizer.zero_grad()
        (loss + 0.02 * scene.losses()["eikonal"]).backward()
        optimizer.step()
    seconds = time.process_time() - start
    field.eval()
    found: dict[str, Any] = {"s": round(float((10 * field.variance.detach()).exp()), 1), "seconds": round(seconds, 1)}
    for name, spec in (("own", {}), ("even_256", {"samples": 256, "fine_samples": 0})):
        field.spec = field.spec.model_copy(update=spec)
        with torch.no_grad():
            shown = field.fuse(known, cameras[:, seen], torch.zeros(1)).render(cameras[:, held], SIZE)
        solid, ours = alpha[:, held] > 0.5, shown.opacity > 0.5
        measured = {
            "l1": (shown.values - latents[:, held]).abs().mean(),
            "opacity_l1": (shown.opacity - alpha[:, held]).abs().mean(),
            "iou": (solid & ours).sum() / (solid | ours).sum(),
        }
        found[name] = {key: round(float(value), 4) for key, value in measured.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default="rules,cost,trained")
    parser.add_argument("--steps", type=int, default=600, help="of each trained field")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"device": "CPU, one thread", "torch": torch.__version__}
    parts = {"rules": rules, "cost": cost, "trained": lambda: trained(options.steps, options.seeds)}
    for part in options.parts.split(","):
        report[part] = parts[part]()
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
