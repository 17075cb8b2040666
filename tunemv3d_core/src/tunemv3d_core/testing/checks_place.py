"""Check that what a map shows at a place stays there: nothing is transposed, mirrored, shifted or averaged away."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tunemv3d_core.testing.batches import Batch, Size
from tunemv3d_core.testing.check import ConformanceError
from tunemv3d_core.testing.component import Built, ComponentUnderTest, awake
from tunemv3d_core.testing.training_probe import call

PLACES = ((1, 2), (2, 6), (4, 1), (3, 5))
"""(row, column) of the block that changes, one for each object, of a grid of ``GRID`` blocks."""

GRID = (6, 9)

STRONG = 0.25
"""Cells count that change by this share of what the cell of the largest change does: normalisation and attention change
all cells a little.
"""

OFF, OFF_IF_COARSE = 0.8, 1.5
"""Farthest that the middle of the change may lie off the block's, in cells of the coarser of the two maps, if that has
a stride of 1 and if not: convolutions of stride 2 put it off by half a cell, and coarse cells attend to each other. The
second holds for inputs that need not matter, too, which pass some convolutions of few channels.
"""


@dataclass(frozen=True)
class Asked:
    """An input, and what has to change with it.

    Attributes:
        name: of the batch's tensor or tensors.
        level: which of them, if there are several.
        stride: its stride.
        outputs: names and strides of the outputs.
        needed: whether they have to change with it.
    """

    name: str
    level: int | None
    stride: int
    outputs: dict[str, int]
    needed: bool = True


@torch.no_grad()
def check_same_place(component: ComponentUnderTest) -> None:
    """What changes at a place of its input, beyond -1 to 1 too, changes its output most there, at every level."""
    built = awake(component)
    asked = list(_asked(built))
    block = max(2, *(max(each.stride, *each.outputs.values()) for each in asked))
    size = Size(len(PLACES), 1, 1, GRID[0] * block, GRID[1] * block)
    for each in asked:
        before, after = (call(built, batch).per_view for batch in _changed(built.batch(size), each, block))
        what = each.name if each.level is None else f"{each.name} {each.level}"
        for name, stride in each.outputs.items():
            change = (after[name] - before[name]).float().square().sum(2)[:, 0]
            if not each.needed and not bool(change.any()):
                continue
            coarser = max(each.stride, stride)
            _judge(what, name, change, coarser / block, OFF if coarser == 1 and each.needed else OFF_IF_COARSE)


def _asked(built: Built) -> Iterator[Asked]:
    """Yield the inputs that a slot's outputs have to follow."""
    slot, ports = built.slot, built.module.ports
    if slot == "view_encoder":
        features = {"features": ports.stride}
        # Beside the frozen model's x0, the noisy latents need not matter.
        yield Asked("foreground_x0" if ports.foreground_x0 else "x_t", None, 1, features)
    elif slot == "lifter":
        maps = {f"map {k}": port.stride for k, port in enumerate(ports.maps)}
        yield Asked("values", None, 1, maps)
        yield Asked("x_t", None, 1, maps, needed=False)
    elif slot == "injector":
        for k, (given, wanted) in enumerate(zip(ports.maps, ports.residuals, strict=True)):
            yield Asked("maps", k, given.stride, {f"residual {k}": wanted.stride})
    else:
        skips = {f"skip {k}": port.stride for k, port in enumerate(ports.residuals)}
        yield Asked("x_t", None, 1, {**skips, "prediction": 1})


def _changed(batch: Batch, asked: Asked, block: int) -> tuple[Batch, Batch]:
    """Return the batch with one state of the blocks and with another, of the same signs and mean size."""
    given: Any = getattr(batch, asked.name)
    tensor: Tensor = given if asked.level is None else given[asked.level]
    channels = torch.arange(tensor.shape[2], device=tensor.device)
    signs = torch.where(channels % 3 == 0, -1.0, 1.0)
    states = []
    for parity in (0, 1):
        state, side = tensor.clone(), block // asked.stride
        for index, (row, column) in enumerate(PLACES):
            rows, columns = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
            state[index, :, :, rows, columns] = (signs * torch.where(channels % 2 == parity, 2.0, 4.0))[:, None, None]
        changed: Any = state if asked.level is None else (*given[: asked.level], state, *given[asked.level + 1 :])
        states.append(replace(batch, **{asked.name: changed}))
    return states[0], states[1]


def _judge(what: str, output: str, change: Tensor, cell: float, allowed: float) -> None:
    """Compare where the output changed, ``b h w``, with the blocks; ``cell`` is a cell's part of a block."""
    strongest = change.amax((1, 2), keepdim=True)
    if not bool((strongest > 0).all()):
        raise ConformanceError(f"{output} does not change with {what}")
    change = change.where(change >= STRONG * strongest, 0.0)
    for index, place in enumerate(PLACES):
        for axis, (name, lines) in enumerate((("rows", GRID[0]), ("columns", GRID[1]))):
            along = change[index].sum(1 - axis)
            places = (torch.arange(len(along), device=along.device) + 0.5) / len(along) * lines
            off = float((along * places).sum() / along.sum()) - (place[axis] + 0.5)
            if abs(off) > allowed * cell:
                raise ConformanceError(
                    f"what changes in {what} changes {output} elsewhere, {off / cell:+.1f} {name} off: is it "
                    "transposed, mirrored, shifted or averaged?"
                )


CHECKS = ()
OF_SLOT = dict.fromkeys(("backbone", "view_encoder", "lifter", "injector"), (check_same_place,))
