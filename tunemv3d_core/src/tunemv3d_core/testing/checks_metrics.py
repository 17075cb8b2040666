"""Checks that a metric gives the numbers that it declares, of what it is given and of nothing else."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, cast

import torch
from torch import Tensor

from tunemv3d_core.cameras import Cameras
from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.posed_images import PosedImages
from tunemv3d_core.plugins.registry import load_value
from tunemv3d_core.ports import Neighbours
from tunemv3d_core.slots import (
    ComparesWithReal,
    MeasuredObject,
    Need,
    ObjectMetric,
    SetMetric,
    figures_error,
    metric_error,
)
from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import Built, ComponentUnderTest
from tunemv3d_core.testing.seeding import seed_all
from tunemv3d_core.testing.stand_ins import StandInBackbone
from tunemv3d_core.types import Views

Given = list[Mapping[str, float | None]]

PROMPTS = ("a red chair", "a red chair", "")
"""Two objects of one prompt, and one without."""

FILLED = (0.8, 0.4, 0.0)
"""By object, the share of pixels that show it."""

VIEWS, CELLS = 3, 8

ABOUT, OF_RANGE = 0.15, 0.1
"""How far figures may move where the views come in another order, as a share of themselves or of the range that they
declare: a metric may draw points or pairs of views.
"""

TURNED = [1, 2, 0]
"""Another order of the views."""
ROUNDING = 1e-4
"""How far a set's figures may move, as a share of themselves, where only sums are made in another order."""


def check_declares_figures(component: ComponentUnderTest) -> None:
    """It measures objects or sets, one of the two, and declares its figures and needs."""
    if error := metric_error(_built(component)):
        raise ConformanceError(f"it {error}")


def check_gives_figures(component: ComponentUnderTest) -> None:
    """Of noise and of blank views it gives every declared figure and no other, finite and within its range."""
    metric = _built(component)
    given = _measured(metric, _samples())
    # A set may be a single object, and one whose views are all blank.
    given += _measured(metric, _samples()[-1:])
    for figures in given:
        if error := figures_error(metric.figures, figures):
            raise ConformanceError(error)


def check_figures_of_any_views(component: ComponentUnderTest) -> None:
    """It gives its figures of one view or two, of pictures that are not square, and of objects in one colour, too."""
    metric = _built(component)
    several = {
        "one view": _samples(views=1),
        "two views that are not square": _samples(views=2, size=(CELLS, CELLS + 4)),
        "an object in one colour": _samples(colour=0.2),
    }
    for what, samples in several.items():
        for figures in _measured(metric, samples[:2]):
            if error := figures_error(metric.figures, figures):
                raise ConformanceError(f"of {what}: {error}")


def check_only_what_it_needs(component: ComponentUnderTest) -> None:
    """It gives its figures, or refuses in words, where nothing is there but what it needs."""
    metric = _built(component)
    absent = {"opacity": Need.FIELD, "renders": Need.RENDERS, "record": Need.RECORD}
    left_out: dict[str, Any] = {name: None for name, need in absent.items() if need not in metric.needs}
    model = None
    if not {Need.FIELD, Need.RENDERS, Need.NOVEL_VIEWS, Need.SURFACE} & set(metric.needs):
        model = MultiviewDiffusion(cast(torch.nn.Module, _model().backbone)).eval()
    try:
        given = _measured(metric, [replace(sample, **left_out) for sample in _samples()], model)
    except TuneMV3DError:
        return
    except Exception as caught:
        raise ConformanceError(
            f"its needs are {', '.join(metric.needs) or 'none'}, but without {', '.join(left_out) or 'more'} it fails "
            f"({type(caught).__name__}: {caught}): declare what it needs"
        ) from caught
    for figures in given:
        if error := figures_error(metric.figures, figures):
            raise ConformanceError(f"without {', '.join(left_out)}: {error}")


def check_figures_deterministic(component: ComponentUnderTest) -> None:
    """The same objects give the same figures, whatever the random generator's state, and it sets no seed."""
    results, states = [], []
    for seed in (1, 2):
        results.append(_measured(_built(component), _samples(), seed=seed))
        states.append(torch.get_rng_state())
    if results[0] != results[1]:
        raise ConformanceError(f"figures differ from run to run: {results[0]} and {results[1]}")
    if torch.equal(*states):
        raise ConformanceError(
            "it seeds torch's random generator, which others share: use a torch.Generator of its own"
        )


def check_figures_in_any_order(component: ComponentUnderTest) -> None:
    """Objects in another order give the same figures, those of a set to rounding."""
    metric = _built(component)
    one, other = _measured(metric, _samples()), _measured(_built(component), _samples()[::-1])
    tolerance = 0.0 if isinstance(metric, ObjectMetric) else ROUNDING
    for figures, again in zip(one, other if isinstance(metric, SetMetric) else other[::-1], strict=True):
        for name, value in figures.items():
            if not _near(value, again[name], tolerance):
                raise ConformanceError(f"'{name}' is {value}, and {again[name]} of the same in another order")


def check_figures_in_any_view_order(component: ComponentUnderTest) -> None:
    """Views in another order, with their cameras, give about the same figures."""
    metric = _built(component)
    one, other = (_measured(_built(component), _samples(order=order)) for order in (None, TURNED))
    for figures, again in zip(one, other, strict=True):
        for name, value in figures.items():
            figure = metric.figures[name]
            given = [x for x in (value, again[name]) if x is not None]
            if len(given) == 2 and abs(given[0] - given[1]) <= OF_RANGE * (figure.high - figure.low) < math.inf:
                continue
            if not _near(value, again[name], ABOUT):
                raise ConformanceError(f"'{name}' is {value}, and {again[name]} of the same views in another order")


def check_figures_keep_inputs(component: ComponentUnderTest) -> None:
    """It changes neither the objects nor the model, nor whether that is in training."""
    metric, samples, model = _built(component), _samples(), _model()
    _measured(metric, samples, model)
    for sample, drawn_again in zip(samples, _samples(), strict=True):
        for field in fields(sample):
            if not _same(getattr(sample, field.name), getattr(drawn_again, field.name)):
                raise ConformanceError(f"'{field.name}' is changed in its place: other metrics are given the same")
    before = _model().state_dict()
    if changed := [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]:
        raise ConformanceError(f"the model's {changed[0]} is changed: other metrics are given the same model")
    if any(part.training for part in model.modules()):
        raise ConformanceError("it leaves the model in training mode, where dropout is on: call eval() again")
    asked = {name for name, parameter in _model().named_parameters() if parameter.requires_grad}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None or parameter.requires_grad != (name in asked):
            raise ConformanceError(f"the model's {name} holds a gradient, or asks for one as it did not before")


class RealObjects:
    """A dataset of three drawn objects with eight pictures each, for metrics that compare with real ones."""

    def __len__(self) -> int:
        return 3

    def splits(self) -> dict[str, list[int]]:
        """Two to train on, one held out."""
        return {"train": [0, 1], "held_out": [2]}

    def record(self, index: int) -> PosedImages:
        """A ring of cameras around each."""
        return PosedImages(f"real{index}", Cameras.orbit(8, 20.0), (2 * CELLS, 2 * CELLS), (f"a real thing {index}",))

    def views(self, index: int, cameras: list[int]) -> Views:
        """A square in a colour of the object's own on white; every view's is as far down as its camera's place."""
        colour = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(index)) * 2 - 1
        alpha = torch.zeros(len(cameras), 2 * CELLS, 2 * CELLS)
        for row, camera in enumerate(cameras):
            alpha[row, 4 + camera // 2 : 12 + camera // 2, 4:12] = 1
        images = torch.where(alpha[:, None] > 0, colour, 1.0)
        record = self.record(index)
        return Views(images[None], alpha[None], record.cameras[cameras][None], list(record.captions), [record.id])


def _built(component: ComponentUnderTest) -> Any:
    return load_value(component.plugin.build)(component.spec)


@torch.no_grad()
def _measured(
    metric: Any, samples: Sequence[MeasuredObject], model: MultiviewDiffusion | None = None, seed: int = 0
) -> Given:
    """The figures of each object, or those of the set alone; ``seed`` is the random generator's before each."""
    model = model or _model()
    if isinstance(metric, ComparesWithReal):
        metric.use_dataset(RealObjects(), model)

    def seeded(measure: Callable[..., Mapping[str, float | None]], given: Any) -> Mapping[str, float | None]:
        seed_all(seed)
        return measure(given, model)

    if isinstance(metric, ObjectMetric):
        return [seeded(metric.measure, sample) for sample in samples]
    return [seeded(metric.measure_set, samples)]


def _model() -> MultiviewDiffusion:
    """A model of stand-ins, the same at every call; its field gives latents and renders any camera."""
    seed_all(0)
    backbone = StandInBackbone()
    return Built("backbone", backbone, backbone, Neighbours(backbone.ports), torch.device("cpu")).system().eval()


def _samples(
    views: int = VIEWS,
    size: tuple[int, int] = (CELLS, CELLS),
    colour: float | None = None,
    order: list[int] | None = None,
) -> list[MeasuredObject]:
    """Draw noise within a silhouette of its own for each object, brighter from view to view.

    Args:
        views: number of views.
        size: (h, w) of the latents; pictures are twice as large.
        colour: what every pixel of the objects shows instead of noise.
        order: in which the views come.
    """
    generator = torch.Generator().manual_seed(0)
    cameras, pixels = Cameras.orbit(views, elevation=20.0), (2 * size[0], 2 * size[1])
    turned = order or list(range(views))
    found = []
    for index, prompt in enumerate(PROMPTS):
        silhouettes = torch.rand(views, *pixels, generator=generator) < FILLED[index]
        noise = 0.15 * (torch.rand(2, views, 3, *pixels, generator=generator) * 2 - 1)
        shown = noise + torch.linspace(-0.8, 0.8, views)[:, None, None, None]
        if colour is not None:
            shown = torch.full_like(noise, colour)
        images, renders = torch.where(silhouettes[:, None], shown, 1.0)[:, turned]
        latents = torch.randn(views, 4, *size, generator=generator)[turned]
        opacity = torch.rand(views, *size, generator=generator)[turned]
        seen = cameras[turned]
        record = PosedImages(str(index), seen, pixels, (prompt,))
        found.append(MeasuredObject(prompt, images, silhouettes[turned], latents, seen, opacity, renders, record))
    return found


def _near(one: float | None, other: float | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= tolerance * max(abs(one), abs(other))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Cameras):
        return _same(one.camera_to_world, other.camera_to_world) and _same(one.intrinsics, other.intrinsics)
    if isinstance(one, PosedImages):
        return one.id == other.id and one.captions == other.captions and _same(one.cameras, other.cameras)
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


CHECKS = (
    check_declares_figures,
    check_gives_figures,
    check_figures_of_any_views,
    check_only_what_it_needs,
    check_figures_deterministic,
    check_figures_in_any_order,
    check_figures_in_any_view_order,
    check_figures_keep_inputs,
)
