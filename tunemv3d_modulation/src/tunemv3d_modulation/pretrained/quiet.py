"""Keep the libraries' logs and bars out of a command's output."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging


@contextmanager
def quiet() -> Iterator[None]:
    """Show no log and no bar of the libraries inside: a fault is one message."""
    level = logging.root.manager.disable
    shown = [library for library in (transformers_logging, diffusers_logging) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
        for library in shown:
            library.enable_progress_bar()
