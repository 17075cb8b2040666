"""The one reader of JSON, and its writers. Files may come from anybody: plain ones are read, of bounded size and depth.

What is read holds nothing that JSON has no word for or that code after it could not hold: numbers are finite, integers
fit 64 bits, texts are whole, and no key is given twice.
"""

import errno
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tunemv3d_core.errors import DatasetError, TuneMV3DError
from tunemv3d_core.foreign_text import is_whole, shown
from tunemv3d_core.io.atomic import atomic_file

MAX_BYTES = 32 * 2**20
"""Size of a file; what is read of it takes up to 30 times as much memory."""
MAX_LIST_BYTES = 4 * 2**30
"""Size of a list of millions of objects, which is read where it is asked for."""
MAX_DEPTH = 100
"""Blocks within each other; far fewer than Python can follow."""

_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_INTEGERS = range(-(2**63), 2**63)


class NotJsonError(ValueError):
    """Text that is no JSON at all.

    Attributes:
        column: where in its line, from 1.
    """

    def __init__(self, error: json.JSONDecodeError) -> None:
        super().__init__(f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}")
        self.column, self.reason = error.colno, error.msg


def read_plain(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a plain file whole, and never wait for one: pipes and devices are refused.

    Raises:
        OSError: it is missing, no plain file, too large or cannot be read; ``strerror`` says which.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a name that holds a zero
        raise OSError(errno.EINVAL, str(error), str(path)) from None
    try:
        about = os.fstat(descriptor)
        if stat.S_ISDIR(about.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, "it is no plain file", str(path))
        if about.st_size > max_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {max_bytes >> 10} KiB", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(min(max_bytes, about.st_size + 2**20))  # room is made for all of it at once
    finally:
        os.close(descriptor)


def check_plain(path: Path) -> None:
    """Refuse what is no plain file, for libraries that open files themselves and would wait for a pipe.

    Raises:
        OSError: it is missing, or no plain file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))


def is_folder(path: Path) -> bool:
    """Tell whether a folder lies there; False also for names that no disk could hold."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_plain(path: Path) -> bool:
    """Tell whether a plain file lies there; False also for names that no disk could hold."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def parse(text: str | bytes, finite: bool = True) -> Any:
    """Parse JSON.

    Args:
        text: the text, or its bytes in UTF-8.
        finite: False also takes NaN and Infinity, which logs may hold.

    Raises:
        ValueError: what is wrong and where, in one line without the file's name; ``NotJsonError`` where it is no JSON.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}") from None
    numbers = _Numbers(finite)
    try:
        content = json.loads(
            text,
            parse_constant=numbers.of_name,
            parse_float=numbers.real,
            parse_int=numbers.whole,
            object_pairs_hook=_no_key_twice,
        )
    except json.JSONDecodeError as error:
        raise NotJsonError(error) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    _check_depth(content)
    if numbers.are_odd:
        _refuse(content, _number_fault)
    if _HALF.search(text) or not is_whole(text):
        _refuse(content, _text_fault)
    return content


def parse_json(
    data: bytes, path: Path | str, error: type[TuneMV3DError] = DatasetError, finite: bool = True
) -> dict[str, Any]:
    """Parse a JSON object; an ``error`` names the file and the place of any fault. ``finite``: see ``parse``."""
    try:
        content = parse(data, finite)
    except ValueError as fault:
        raise error(f"{path}: {fault}") from None
    if not isinstance(content, dict):
        raise error(f"{path}: should be a JSON object, got {shown(json.dumps(content)[:200], 60)}")
    return content


def read_json(
    path: Path,
    error: type[TuneMV3DError] = DatasetError,
    name: str = "",
    max_bytes: int = MAX_BYTES,
    finite: bool = True,
) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        error: what is raised.
        name: what messages call the file; "" for its path.
        max_bytes: its size at most.
        finite: see ``parse``.

    Raises:
        TuneMV3DError: ``error``, which names the file and the place of any fault.
    """
    try:
        data = read_plain(path, max_bytes)
    except FileNotFoundError:
        raise error(f"{name or path}: no such file") from None
    except OSError as fault:
        raise error(f"{name or path}: cannot be read: {fault.strerror}") from None
    return parse_json(data, name or path, error, finite)


def write_json(path: Path, content: dict[str, Any], durable: bool = False) -> None:
    """Write a JSON file, whole or not at all; its folder is made. ``durable``: see ``atomic_file``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path, durable=durable) as beside:
        beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def write_json_list(path: Path, head: dict[str, Any], key: str, entries: Iterable[Any]) -> None:
    """Write a JSON object that ends in a list of any length, one line per entry, as they come; renamed when complete.

    Args:
        path: the file.
        head: the keys before the list, at least one.
        key: the list's key.
        entries: what it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as beside, beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(head, indent=1, ensure_ascii=False).removesuffix("\n}") + f",\n {json.dumps(key)}: [")
        separator = "\n"
        for entry in entries:
            file.write(f"{separator}  {json.dumps(entry, ensure_ascii=False)}")
            separator = ",\n"
        file.write("\n ]\n}\n")


class _TooLarge:
    """An integer that nobody converted, because that takes quadratic time."""

    def __init__(self, digits: str) -> None:
        self.digits = len(digits.lstrip("-"))


class _Numbers:
    """Readers of numbers that remember whether one was not finite or an integer too large."""

    def __init__(self, finite: bool) -> None:
        self.are_odd, self._finite = False, finite

    def of_name(self, name: str) -> float:
        self.are_odd |= self._finite
        return float(name)

    def real(self, digits: str) -> float:
        value = float(digits)
        self.are_odd |= self._finite and math.isinf(value)
        return value

    def whole(self, digits: str) -> int | _TooLarge:
        if len(digits) < 19:
            return int(digits)
        if len(digits) > 20 or int(digits) not in _INTEGERS:
            self.are_odd = True
            return _TooLarge(digits)
        return int(digits)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"'{shown(twice)}' appears twice in one block; remove one")
    return content


def _check_depth(content: Any) -> None:
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [inner for block in level for inner in _values(block) if isinstance(inner, dict | list)]
    if level:
        raise ValueError(f"nested too deeply: more than {MAX_DEPTH} blocks within each other")


def _refuse(content: Any, fault_of: Callable[[Any], str]) -> None:
    """Raise a ``ValueError`` on the first value or key with a fault, which names its place."""
    for place, value in _places(content, ""):
        if fault := fault_of(value):
            raise ValueError(f"{place}: {fault}" if place else fault)


def _places(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield every value and key with its place, such as "frames.0.cx"."""
    before = f"{place}." if place else ""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield place, key
            yield from _places(inner, before + shown(key, 40))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _places(inner, f"{before}{index}")
    else:
        yield place, value


def _number_fault(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return f"{name} is not a finite number"
    return f"an integer of {value.digits} digits is too large" if isinstance(value, _TooLarge) else ""


def _text_fault(value: Any) -> str:
    return "a text holds half of a character" if isinstance(value, str) and not is_whole(value) else ""


def _values(block: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return block.values() if isinstance(block, dict) else block
