"""Maps of a dataset's views beside their pictures, such as depth, in latent cells: for the losses that need them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from tunemv3d_core.dataset_checks import ask_reader
from tunemv3d_core.errors import DatasetError, SpecError
from tunemv3d_core.slots import KNOWN_MAPS, Dataset, HasMaps, NeedsMaps, Streams
from tunemv3d_train.batch_sampler import BatchPlan
from tunemv3d_train.latents import to_device


def needed_maps(losses: Mapping[str, Any], given: Mapping[str, int]) -> dict[str, int]:
    """Return the channels of the maps that losses need, by name.

    Args:
        losses: the spec's further losses by their names in it.
        given: channels of the maps that the dataset has.

    Raises:
        SpecError: a loss needs one that the dataset has not, or not with as many channels.
    """
    needed: dict[str, int] = {}
    for name, loss in losses.items():
        for wanted in loss.needs if isinstance(loss, NeedsMaps) else ():
            if wanted not in given:
                has = f"has {', '.join(given)} alone" if given else "has none"
                raise SpecError(
                    f"loss.terms.{name}: needs the map '{wanted}' of each view, and the dataset {has}; render the "
                    "objects with it, or leave the loss out"
                )
            if given[wanted] != KNOWN_MAPS.get(wanted, given[wanted]):
                raise SpecError(f"data: the map '{wanted}' has {given[wanted]} channels; it needs {KNOWN_MAPS[wanted]}")
            needed[wanted] = given[wanted]
    return needed


class Maps:
    """Reader of some of a dataset's maps; those of a dataset that is not streamed are read once and kept.

    Args:
        dataset: has these maps.
        channels: of each, by name.
        size: (h, w) of the latents.
        device: where the model is.
    """

    def __init__(self, dataset: Dataset, channels: Mapping[str, int], size: tuple[int, int], device: torch.device):
        assert isinstance(dataset, HasMaps)
        self._dataset: HasMaps = dataset
        self._channels, self._size, self._device = dict(channels), size, device
        self._keeps = not isinstance(dataset, Streams)
        self._known: dict[tuple[int, int], Tensor] = {}

    def gather(self, plan: BatchPlan) -> Tensor:
        """Return a plan's maps side by side in their channels, ``b (n + m) c h w``, on the device.

        Raises:
            DatasetError: a map cannot be read, or is not what ``HasMaps`` says.
        """
        chosen = zip(plan.objects, plan.views, strict=True)
        return to_device(torch.stack([self._object(index, views) for index, views in chosen]), self._device)

    def _object(self, index: int, views: list[int]) -> Tensor:
        if missing := [view for view in views if (index, view) not in self._known]:
            read = self._read(index, missing)
            if not self._keeps and len(missing) == len(views):
                return read
            self._known |= {(index, view): cells for view, cells in zip(missing, read, strict=True)}
        return torch.stack([self._known[index, view] for view in views])

    def _read(self, index: int, views: list[int]) -> Tensor:
        """Read some views' maps: ``n c h w``, in latent cells."""
        given = ask_reader(self._dataset, "maps", index, list(views), tuple(self._channels))
        cells = []
        for name, channels in self._channels.items():
            record = self._dataset.record(index)
            values = given.get(name) if isinstance(given, Mapping) else None
            shape = (len(views), channels, *record.size)
            if not isinstance(values, Tensor) or values.shape != shape or values.dtype != torch.float32:
                got = f"{tuple(values.shape)}, {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
                raise DatasetError(f"object '{record.id}': its {name} is {got}; give {shape}, torch.float32")
            if not bool(values.isfinite().all()):
                raise DatasetError(f"object '{record.id}': its {name} holds numbers that are not finite; give 0 there")
            cells.append(in_cells(values, self._size, hit_alone=name in KNOWN_MAPS))
        return torch.cat(cells, dim=1)


def in_cells(values: Tensor, size: tuple[int, int], hit_alone: bool) -> Tensor:
    """Average maps ``n c H W`` down to ``n c h w``.

    Args:
        values: of pixels.
        size: (h, w).
        hit_alone: leave out pixels whose channels are all 0; a cell without any other is 0.
    """
    cells = adaptive_avg_pool2d(values, size)
    if not hit_alone:
        return cells
    share = adaptive_avg_pool2d(values.ne(0).any(1, keepdim=True).float(), size)
    return torch.where(share > 0, cells / share.clamp(min=1e-6), 0.0)
