"""Real objects as vectors of a CLIP's space."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.slots import Dataset
from tunemv3d_core.view_selection import spread_views
from tunemv3d_eval.clip.retrieval import Scorer


@dataclass(frozen=True)
class RealVectors:
    """Unit vectors of real objects' views.

    Attributes:
        ids: of the objects.
        vectors: ``objects views d``, on the CPU.
    """

    ids: tuple[str, ...]
    vectors: Tensor


def real_vectors(dataset: Dataset, indices: list[int], views: int, most: int, scorer: Scorer) -> RealVectors:
    """Encode ``views`` pictures of at most ``most`` objects, evenly among ``indices``.

    Raises:
        DatasetError: no objects, or an object with fewer pictures.
    """
    if not indices:
        raise DatasetError("the dataset has no real objects of this kind to compare with")
    chosen = [indices[k * len(indices) // min(most, len(indices))] for k in range(min(most, len(indices)))]
    ids, found = [], []
    for index in chosen:
        record = dataset.record(index)
        if record.views < views:
            raise DatasetError(f"object '{record.id}' has {record.views} pictures; {views} are compared")
        found.append(scorer.images(dataset.views(index, spread_views(record.cameras, views)).images[0]).cpu())
        ids.append(record.id)
    return RealVectors(tuple(ids), torch.stack(found))
