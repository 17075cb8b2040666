"""``tunemv3d data attributions``: who made what a dataset shows, and under which licence."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from tunemv3d_core.cli.ending import say_next
from tunemv3d_core.console import console, print_json
from tunemv3d_core.errors import EXIT_FINDINGS, DatasetError
from tunemv3d_data.commands.options import StatedCreator, StatedLicence


def attributions(
    dataset: Annotated[Path, typer.Argument(help="A dataset's folder.")],
    out: Annotated[Path | None, typer.Option(help="Where to write the page; ATTRIBUTION.md in the dataset.")] = None,
    state_licence: StatedLicence = "",
    state_creator: StatedCreator = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Write the page that credits every object of a dataset, count its licences, and state those that are missing.

    Exit code 1 where objects state no licence; they are listed.
    """
    from tunemv3d_data.licences import attribution, spdx, state

    page = out or dataset / "ATTRIBUTION.md"
    records = state(dataset, state_licence, state_creator)
    try:
        page.write_text("".join(attribution(records)), encoding="utf-8", newline="\n")
    except OSError as error:
        raise DatasetError(f"{page}: cannot be written: {error.strerror}") from None
    originals = [record for record in records if record.extra.get("variant", 0) == 0]
    licences = Counter(spdx(record.licence) for record in originals)
    unknown = [record.id for record in originals if not record.licence]
    if as_json:
        print_json({"page": str(page), "objects": len(originals), "licences": licences, "unknown": unknown})
    else:
        for id_ in unknown:
            console.print(f"no licence stated: {id_}", markup=False, highlight=False, soft_wrap=True)
        counts = ", ".join(f"{count} {licence or 'not stated'}" for licence, count in licences.most_common())
        console.print(f"{page}: {len(originals)} objects: {counts}", markup=False, highlight=False, soft_wrap=True)
        say_next("tunemv3d", "data", "check", dataset)
    if unknown:
        raise typer.Exit(EXIT_FINDINGS)
