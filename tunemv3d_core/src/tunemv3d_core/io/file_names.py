"""Names of files and folders that every common file system takes, those of Windows and macOS included."""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

LONGEST = 200
"""Bytes of a name that we make; file systems take 255, and a suffix may follow."""

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[\d\u00b9\u00b2\u00b3])( *\..*)?", re.IGNORECASE)
"""Devices of Windows, whatever follows a dot."""
_RUN = re.compile(r"[^./\\\x00-\x1f\x7f\ud800-\udfff][^/\\\x00-\x1f\x7f\ud800-\udfff]{0,119}")
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')


def path_of(text: str | Path) -> Path:
    """Return the path that a person means: ~ is their home; where it is nobody's, it stays a letter."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def exists(path: Path) -> bool:
    """Tell whether something lies at a path; nothing does where no disk could hold the name."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_name(text: str) -> bool:
    """Return whether a foreign text can name a file or folder below the one that it is looked for in."""
    is_one = not set("/\\") & set(text) and text not in ("", ".", "..") and not PureWindowsPath(text).drive
    return is_one and is_inside(text)


def is_inside(text: str) -> bool:
    """Return whether a foreign text can name a file in the folder that it is relative to, or below.

    Both slashes separate, and nothing leads up, to a drive or to the root. Links are another matter.
    """
    path = PureWindowsPath(text)
    is_below = not path.anchor and ".." not in path.parts and path.parts != ()
    return is_below and text.isprintable() and all(len(part.encode()) < 256 for part in path.parts)


def is_run_name(text: str) -> bool:
    """Return whether a spec's name can be a run's folder: at most 120 letters, no slashes, no dot at its start."""
    return _RUN.fullmatch(text) is not None and len(text.encode()) < 256


def leading_out(folder: Path, files: Iterable[Path]) -> Path | None:
    """Return the first of some files that, its links followed, lies anywhere but below a folder; None for none.

    A folder of the hub's cache ("datasets--OWNER--NAME/snapshots/REVISION") is links into "blobs", which counts as its
    own.
    """
    real = Path(os.path.realpath(folder))
    snapshots = (above for above in real.parents if above.name == "snapshots" and "--" in above.parent.name)
    blobs = [above.with_name("blobs") for above in snapshots]
    roots = tuple(os.path.join(root, "") for root in (real, *blobs))
    return next((file for file in files if not os.path.realpath(file).startswith(roots)), None)


def is_device(name: str) -> bool:
    """Return whether a name is that of a device on Windows, such as "con", "aux.txt" or "COM1"."""
    return bool(_DEVICE.fullmatch(name))


def fault_of(name: str) -> str:
    """Say why a name cannot be a folder's on every common file system, after "its id"; "" if it can."""
    if not name.strip() or name != name.strip() or name.startswith(".") or name.endswith("."):
        return "is empty, or begins or ends with a dot or a space"
    if match := _FORBIDDEN.search(name):
        return f"holds {match[0]!r}, which cannot be in a folder's name"
    if is_device(name):
        return "is the name of a device on Windows"
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return "" if name.isprintable() else "holds characters that cannot be printed"


def clashes(folders: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Find owners whose folders another one has already where case and the spelling of accents do not count.

    Args:
        folders: names of folders by owner, in the order in which they get them.

    Returns:
        The owner that has the folder, by the owner that would share it.
    """
    owners: dict[str, str] = {}
    found: dict[str, str] = {}
    for owner, names in folders.items():
        keys = {unicodedata.normalize("NFC", name).casefold() for name in names}
        if taken := sorted(keys & owners.keys()):
            found[owner] = owners[taken[0]]
        else:
            owners |= dict.fromkeys(keys, owner)
    return found


def without_paths(value: Any) -> Any:
    """Copy JSON with the last part alone of every text that is an absolute path."""
    if isinstance(value, dict):
        return {name: without_paths(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    return PureWindowsPath(value).name if isinstance(value, str) and is_absolute(value) else value


def is_absolute(text: str) -> bool:
    """Tell whether a text is an absolute path of any system, or one in a home folder."""
    windows = PureWindowsPath(text)
    return text.startswith("~") or PurePosixPath(text).is_absolute() or (windows.is_absolute() and "\n" not in text)
