"""Caption rules of a person's own, from a Python file."""

import runpy
from functools import cache, partial
from pathlib import Path

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.captions.vocabulary import load_vocabulary
from tunemv3d_data.captions.wording import Describe, describe


@cache
def caption_rules(file: Path | None, vocabulary: Path | None = None) -> Describe:
    """Load the function ``describe`` of a Python file, once per process; None: our own for any object.

    Our own takes names by the packaged vocabulary, with a person's own file on top of it.

    Raises:
        DatasetError: the file cannot be run, or has no such function.
    """
    if file is None:
        return partial(describe, vocabulary=load_vocabulary(vocabulary))
    try:
        found: Describe | None = runpy.run_path(str(file)).get("describe")
    except Exception as error:  # a person's file raises whatever is wrong with it
        raise DatasetError(f"{file}: cannot be run: {type(error).__name__}: {error}") from None
    if not callable(found):
        raise DatasetError(f"{file}: has no function describe(source, mesh, seen)")
    return found
