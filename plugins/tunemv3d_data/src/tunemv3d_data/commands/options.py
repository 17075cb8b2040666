"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

DatasetArgument = Annotated[
    str, typer.Argument(help="A dataset's folder, of any layout, an installed one's name, or {\"type\": name, ...}.")
]
LayoutOption = Annotated[str, typer.Option(help="What lies there, as `tunemv3d data convert` names it.")]
WantedLicences = Annotated[
    str | None, typer.Option("--licence", help="Only objects under these licences, such as cc0,cc-by.")
]
StatedLicence = Annotated[
    str, typer.Option("--state-licence", help="Licence of all objects that state none, such as 'CC-BY 4.0'.")
]
StatedCreator = Annotated[
    str, typer.Option("--state-creator", help="Who made the objects that name nobody; CC-BY asks for it.")
]
OptOutList = Annotated[
    Path | None,
    typer.Option("--opt-out", help="A file of ids, creators and addresses, one a line, whose objects are left out."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Leave out objects on which there are notes, such as missing textures.")
]
