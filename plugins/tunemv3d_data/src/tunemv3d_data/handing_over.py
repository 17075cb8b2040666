"""What worker processes are given to begin with, in a file.

What a process is started with goes through a pipe. One that dies before it reads would leave this process waiting for
room in the pipe for ever, if it is more than the pipe holds: what names thousands of objects is.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


@contextmanager
def handed_over(given: object) -> Iterator[Path]:
    """Keep something in a file while the context lasts, for ``taken_over`` in other processes of this machine.

    Args:
        given: anything that can be pickled.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder, "given")
        file.write_bytes(pickle.dumps(given))
        yield file


def taken_over(file: Path) -> Any:
    """Read what ``handed_over`` was given."""
    return pickle.loads(file.read_bytes())
