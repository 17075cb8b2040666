"""Ids become folder names; those that cannot are found before anything is written."""

from collections.abc import Sequence

from tunemv3d_core.io.file_names import clashes, fault_of
from tunemv3d_data.objects import SourceObject
from tunemv3d_data.rendering.settings import RenderJob


def unusable(job: RenderJob, sources: Sequence[SourceObject]) -> dict[int, str]:
    """Find objects, by position, that cannot have a folder of their own on every common disk, with the reason.

    Of several objects that would share one (``Chair`` and ``chair``, composed and decomposed accents, an object
    called as another's variant) the first has it.
    """
    found = {
        position: f"its id {fault}; rename it"
        for position, source in enumerate(sources)
        if (fault := fault_of(source.id))
    }
    places: dict[str, int] = {}
    for position, source in enumerate(sources):
        if position not in found and source.id in places:
            found[position] = _shared(source.id)
        elif position not in found:
            places[source.id] = position
    for id_, owner in clashes({id_: job.names_of(id_) for id_ in places}).items():
        found[places[id_]] = _shared(owner)
    return found


def _shared(owner: str) -> str:
    return f"would share its folder with {owner!r}; rename one"
