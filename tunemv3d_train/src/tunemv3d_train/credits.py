"""What a checkpoint says of the data that it learned from."""

import hashlib
from collections import Counter
from typing import Any

from tunemv3d_core.config.run_spec import RunSpec
from tunemv3d_core.slots import Dataset, HonoursOptOut
from tunemv3d_train.dataset_checks import object_infos

CREDITED = 10_000
"""Up to so many objects are listed one by one in a checkpoint's provenance."""


def provenance(spec: RunSpec, dataset: Dataset) -> dict[str, Any]:
    """Return a checkpoint's record of its data: options, size, licences, creators, each object's licence and source.

    The objects stand under their licence; of more than ``CREDITED`` objects there is a hash of the list, which
    ``tunemv3d data attributions`` writes, in its place.
    """
    records = object_infos(dataset, dataset.splits()["train"])
    lines = sorted(f"{r.id}\t{r.licence}\t{r.creator}\t{r.source}" for r in records)
    credits: dict[str, dict[str, str]] = {}
    for record in records if len(records) <= CREDITED else ():
        credits.setdefault(record.licence, {})[record.id] = " / ".join(filter(None, (record.creator, record.source)))
    opted_out = dataset.opted_out if isinstance(dataset, HonoursOptOut) else 0
    return {
        "dataset": spec.data.model_dump(mode="json"),
        "objects": len(records),
        **({"opted_out": opted_out} if opted_out else {}),
        "licences": dict(Counter(record.licence for record in records)),
        "creators": dict(Counter(record.creator for record in records)),
        "sources_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "sources": credits,
    }
