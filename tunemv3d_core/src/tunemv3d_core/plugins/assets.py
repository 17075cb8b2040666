"""Packaged folders by name: pipelines, checkpoints, datasets."""

from pathlib import Path

from tunemv3d_core.errors import ComponentError
from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.file_names import exists, path_of
from tunemv3d_core.plugins.registry import registry


def find_asset(name: str | Path) -> Path:
    """Return the folder of an installed asset, or the path itself.

    Args:
        name: the name of an entry point in ``tunemv3d.asset``, "distribution:name", or a path. Names come first.

    Raises:
        ComponentError: neither, or the folder is gone; the message lists the installed assets.
    """
    installed = registry()
    try:
        record = installed.find("asset", str(name))
    except ComponentError as error:
        path = path_of(name)
        if exists(path):
            return path
        raise ComponentError(f"{error}. '{shown(path, 200)}' is no path either") from None
    folder: Path = installed.load(record)
    return folder
