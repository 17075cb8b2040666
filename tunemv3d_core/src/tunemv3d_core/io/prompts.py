"""Prompts in a text file."""

from pathlib import Path

from tunemv3d_core.errors import TuneMV3DError
from tunemv3d_core.io.json_files import read_plain


def read_prompts(file: Path) -> list[str]:
    """Read one prompt per line of UTF-8 text; blanks around it, empty lines and those that begin with # are left out.

    Raises:
        TuneMV3DError: the file cannot be read; names it.
    """
    try:
        # Some editors begin a file with a mark of its encoding, which is no part of the first prompt.
        lines = [line.strip() for line in read_plain(file).decode("utf-8-sig").splitlines()]
    except OSError as error:
        raise TuneMV3DError(f"--prompts {file}: cannot be read: {error}") from None
    except UnicodeDecodeError as error:
        raise TuneMV3DError(f"--prompts {file}: cannot be read: {error}; save it as UTF-8") from None
    return [line for line in lines if line and not line.startswith("#")]
