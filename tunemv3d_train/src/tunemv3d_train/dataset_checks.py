"""Checks of a dataset before a run begins: enough objects, enough views, cameras on all sides."""

from collections.abc import Iterable

from tunemv3d_core.config.run_spec import ViewsSpec
from tunemv3d_core.console import messages
from tunemv3d_core.errors import SpecError
from tunemv3d_core.io.posed_images import ObjectInfo
from tunemv3d_core.slots import Dataset, HonoursOptOut, Streams
from tunemv3d_core.view_selection import unseen_side


def object_infos(dataset: Dataset, objects: Iterable[int]) -> list[ObjectInfo]:
    """Summarise some objects, without reading those of a streamed dataset."""
    if isinstance(dataset, Streams):
        infos = dataset.object_infos()
        return [infos[index] for index in objects]
    records = [dataset.record(index) for index in objects]
    return [ObjectInfo(r.id, r.views, r.licence, r.creator, source=r.source) for r in records]


def check_counts(dataset: Dataset, objects: list[int], counts: ViewsSpec) -> None:
    """Refuse a dataset that has no training object, or one with too few views.

    Raises:
        SpecError: names the object and the fields.
    """
    if not objects:
        raise SpecError("data: the dataset has no object in its split 'train'; mark some in dataset.json")
    wanted = counts.inputs + counts.novel
    for info in object_infos(dataset, objects):
        if info.views < wanted:
            raise SpecError(
                f"views: inputs {counts.inputs} + novel {counts.novel} = {wanted}, but object '{info.id}' has only "
                f"{info.views} views; lower views.inputs or views.novel, or render more views"
            )


def warn_of_unseen_sides(dataset: Dataset, objects: Iterable[int]) -> None:
    """Print one warning if all cameras of an object stand on one side of it, as ``tunemv3d data check`` finds it."""
    records = (dataset.record(index) for index in objects)
    found = [(record.id, side) for record in records if (side := unseen_side(record.cameras)) is not None]
    if found:
        (id_, side), more = found[0], len(found) - 1
        others = f", and {more} more like it" if more else ""
        messages.print(
            f"data: object '{id_}': {side}{others}. Nothing can be learned of the other side; add views from there, or "
            "take such objects out",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )


def tell_of_opt_out(dataset: Dataset) -> None:
    """Print how many objects an opt-out list leaves out, if any."""
    if isinstance(dataset, HonoursOptOut) and dataset.opted_out:
        messages.print(f"data: {dataset.opted_out} objects are left out: data.opt_out lists them", markup=False)


def warn_of_no_held_out() -> None:
    """Print that the figures are of objects that are trained on."""
    messages.print(
        "data: the figures are of objects that are trained on: they tell how well these are learned, nothing of new "
        'ones; hold some out: tunemv3d data render --held-out N, or "split": "held_out" in dataset.json',
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
