"""Distances between sets against their definitions in float64, diversity, and the nearest training object."""

import math

import numpy as np
import pytest
import torch
from clip_toys import write_tiny_clip
from eval_toys import toy_model

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.slots import MeasuredObject
from tunemv3d_core.types import Views
from tunemv3d_core.view_selection import spread_views
from tunemv3d_eval.clip.distances import cmmd, kid
from tunemv3d_eval.clip.retrieval import load_clip
from tunemv3d_eval.metrics.clip_spec import DiversitySpec, RealViewsSpec
from tunemv3d_eval.metrics.distribution import (
    Diversity,
    build_cmmd,
    build_kid,
    build_nearest_training_object,
)

SIDE, VIEWS = 16, 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_clip(tmp_path_factory.mktemp("judges") / "judge"))


def _unit(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift
    return torch.nn.functional.normalize(drawn, dim=-1)


def test_kid_is_its_definition() -> None:
    one, other = _unit(7, 5, 0), _unit(9, 5, 1, shift=0.5)
    d = 5
    a, b = one.double().numpy() * math.sqrt(d), other.double().numpy() * math.sqrt(d)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / d + 1) ** 3

    total = 0.0
    for group in (a, b):
        pairs = [kernel(group[i], group[j]) for i in range(len(group)) for j in range(len(group)) if i != j]
        total += sum(pairs) / len(pairs)
    total -= 2 * sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
    assert kid(one, other) == pytest.approx(total, rel=1e-6)
    # Without a difference between the sets its expectation is 0: both signs come up.
    values = [kid(_unit(20, 5, k), _unit(20, 5, 100 + k)) for k in range(40)]
    assert min(values) < 0 < max(values) and abs(sum(values) / 40) < 0.05 < kid(_unit(20, 5, 0), _unit(20, 5, 1, 2.0))


def test_cmmd_is_its_definition() -> None:
    one, other = _unit(6, 4, 2), _unit(8, 4, 3, shift=1.0)
    sums = {}
    for name, (x, y) in {"aa": (one, one), "bb": (other, other), "ab": (one, other)}.items():
        kernels = [math.exp(-float(((p.double() - q.double()) ** 2).sum()) / (2 * 10.0**2)) for p in x for q in y]
        sums[name] = sum(kernels) / len(kernels)
    assert cmmd(one, other) == pytest.approx(1000 * (sums["aa"] + sums["bb"] - 2 * sums["ab"]), rel=1e-6)
    assert cmmd(one, one) == 0


class Blocks:
    """Real objects: squares of one colour; object k is ``colours[k]``."""

    def __init__(self, colours: list[float], held_out: int = 1) -> None:
        self.colours, self.held_out = colours, held_out

    def __len__(self) -> int:
        return len(self.colours)

    def splits(self) -> dict[str, list[int]]:
        last = len(self.colours) - self.held_out
        return {"train": list(range(last)), "held_out": list(range(last, len(self.colours)))}

    def record(self, index: int) -> PosedImages:
        return PosedImages(f"block{index}", Cameras.orbit(8), (SIDE, SIDE), ("a block",))

    def views(self, index: int, cameras: list[int]) -> Views:
        images = torch.stack([_block(self.colours[index], camera) for camera in cameras])
        seen = (images[:, 0] < 1).float()
        return Views(images[None], seen[None], Cameras.orbit(8)[cameras][None], ["a block"], [f"block{index}"])


def _block(colour: float, place: int) -> torch.Tensor:
    image = torch.ones(3, SIDE, SIDE)
    image[:, 4:12, place : place + 6] = torch.tensor([colour, -colour, 0.2])[:, None, None]
    return image


def _sample(images: torch.Tensor, prompt: str = "a block") -> MeasuredObject:
    return MeasuredObject(prompt, images, images[:, 0] < 1, images, Cameras.orbit(len(images), 20))


def test_sets_are_compared_with_all_real_pictures(clip: str) -> None:
    dataset, model = Blocks([-0.9, -0.3, 0.3, 0.9]), toy_model()
    generator = torch.Generator().manual_seed(0)
    samples = [_sample(torch.rand(VIEWS, 3, SIDE, SIDE, generator=generator) * 2 - 1) for _ in range(3)]
    scorer = load_clip(clip)
    real = torch.cat([scorer.images(dataset.views(k, spread_views(Cameras.orbit(8), 4)).images[0]) for k in range(4)])
    seen = torch.cat([scorer.images(sample.images) for sample in samples])
    for build, name, distance in ((build_kid, "kid", kid), (build_cmmd, "cmmd", cmmd)):
        metric = build(RealViewsSpec(type=name, clip=clip, views=4))
        metric.use_dataset(dataset, model)
        given = metric.measure_set(samples, model)
        assert given == {name: pytest.approx(distance(seen, real))}
        copies = [_sample(dataset.views(k, spread_views(Cameras.orbit(8), 4)).images[0]) for k in range(4)]
        assert metric.measure_set(copies, model)[name] < 0.2 * given[name]


def test_diversity_grows_with_the_difference_between_seeds(clip: str) -> None:
    metric, model, scorer = Diversity(DiversitySpec(clip=clip)), toy_model(), load_clip(clip)
    same = torch.stack([_block(0.5, k) for k in range(VIEWS)])
    near, far = same * 0.9, -same
    assert metric.measure_set([_sample(same, "x"), _sample(same, "y")], model) == {"diversity": None}
    assert metric.measure_set([_sample(same), _sample(same)], model)["diversity"] == pytest.approx(0, abs=1e-6)
    a, b, c = (scorer.images(each).double().numpy() for each in (same, near, far))
    wanted = np.mean([np.mean([1 - p @ q for p, q in zip(*pair, strict=True)]) for pair in ((a, b), (a, c), (b, c))])
    given = metric.measure_set([_sample(same), _sample(near), _sample(far), _sample(near, "alone")], model)
    assert given["diversity"] == pytest.approx(wanted, rel=1e-5)
    assert metric.measure_set([_sample(same), _sample(near)], model)["diversity"] < given["diversity"]


def test_the_nearest_training_object_is_named(clip: str) -> None:
    dataset, model = Blocks([-0.9, 0.3, 0.9, 0.35]), toy_model()
    metric = build_nearest_training_object(RealViewsSpec(type="nearest-training-object", clip=clip, views=4))
    metric.use_dataset(dataset, model)
    copied = dataset.views(2, spread_views(Cameras.orbit(8), 4)).images[0][:VIEWS]
    assert metric.measure(_sample(copied), model)["nearest_training"] == pytest.approx(1, abs=1e-5)
    assert metric.words(_sample(copied)) == {"nearest_training_object": "block2"}
    # The held-out block is none of the training's: a sample like it is like block 1, and less so than a copy.
    like_held_out = _sample(dataset.views(3, [0, 2, 4]).images[0])
    assert metric.words(like_held_out) == {"nearest_training_object": "block1"}
    assert metric.measure(like_held_out, model)["nearest_training"] < 1 - 1e-5
    scorer = load_clip(clip)
    rows = []
    for k in range(3):
        pictures = scorer.images(dataset.views(k, spread_views(Cameras.orbit(8), 4)).images[0]).double().numpy()
        views = scorer.images(like_held_out.images).double().numpy()
        rows.append(np.mean([max(float(v @ p) for p in pictures) for v in views]))
    assert metric.measure(like_held_out, model)["nearest_training"] == pytest.approx(max(rows), rel=1e-5)


def test_real_objects_that_do_not_suffice_are_named(clip: str) -> None:
    metric = build_kid(RealViewsSpec(type="kid", clip=clip, views=9))
    with pytest.raises(DatasetError, match="'block0' has 8 pictures; 9"):
        metric.use_dataset(Blocks([0.1, 0.2]), toy_model())
    nearest = build_nearest_training_object(RealViewsSpec(type="nearest-training-object", clip=clip))
    with pytest.raises(DatasetError, match="no real objects"):
        nearest.use_dataset(Blocks([0.1], held_out=1), toy_model())


def test_at_most_so_many_objects_are_read_evenly(clip: str) -> None:
    from tunemv3d_eval.clip.real import real_vectors

    read = real_vectors(Blocks([0.1 * k for k in range(10)], held_out=0), list(range(10)), 2, 4, load_clip(clip))
    assert read.ids == ("block0", "block2", "block5", "block7") and read.vectors.shape[:2] == (4, 2)
