"""What a run keeps of its dataset beside the model."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tunemv3d_core.assemble import build_component
from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.slots import Dataset, HasMaps, Streams
from tunemv3d_train.batches import TEXT_BYTES, Batch
from tunemv3d_train.latents import DEVICE_BYTES


@dataclass(frozen=True)
class DatasetSize:
    """Counts of a dataset.

    Attributes:
        views: whose latents are kept; none of a dataset that is streamed.
        captions: different ones.
        maps: channels of the maps beside its pictures, by name.
        note: why nothing of it is counted; "" where it is.
    """

    views: int = 0
    captions: int = 0
    maps: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    def kept(self, batch: Batch, on_cpu: bool) -> int:
        """Return the bytes of latents and encoded captions that stay with the model.

        Args:
            batch: of the run's sizes.
            on_cpu: whether the model is in the machine's memory, where all of them are.
        """
        latents, alpha, tokens = (batch[name][:1] for name in ("latents", "alpha", "tokens"))  # type: ignore[literal-required]
        pictures = self.views * (latents.nbytes + alpha.nbytes) // latents.shape[1]
        return (pictures if on_cpu or pictures <= DEVICE_BYTES else 0) + min(self.captions * tokens.nbytes, TEXT_BYTES)


def dataset_size(spec: RunSpec) -> DatasetSize:
    """Read a run's dataset as far as its size; where it cannot be read, say so."""
    try:
        dataset: Dataset = build_component("dataset", spec.data)
        maps = dataset.map_channels if isinstance(dataset, HasMaps) else {}
        if isinstance(dataset, Streams):
            return DatasetSize(maps=maps)
        records = [dataset.record(index) for index in range(len(dataset))]
    except TuneMV3DError as error:
        reason = str(error).partition(". ")[0]
        return DatasetSize(note=f"the dataset's latents and captions are not counted: {reason}")
    captions = {caption for record in records for caption in record.captions}
    return DatasetSize(sum(record.views for record in records), len(captions), maps)
