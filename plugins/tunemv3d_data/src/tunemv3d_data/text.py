"""Mesh files that are text: their encoding, and their columns of numbers with the line of what is none."""

import codecs
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from tunemv3d_core.errors import DatasetError

LineOf = Callable[[int], int]
"""Gives the number of the line, from 1, of a row's number, from 0."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
_NOT_FINITE = re.compile(r"\d\.#(?:IND|QNAN|SNAN|INF|NAN)\w*", re.IGNORECASE)


def decoded(data: bytes) -> str:
    """Decode a text file with lines that end in LF: UTF-8, UTF-16 and UTF-32 with or without a mark, else Latin-1."""
    text = data.decode(_encoding(data), errors="replace")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _encoding(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    start = data[:256]
    if start.count(0) > len(start) // 4:  # every second byte of ASCII as UTF-16
        return "utf-16-be" if start[:1] == b"\0" else "utf-16-le"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def numbers(rows: Sequence[str], line_of: LineOf, least: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read rows of numbers, separated by spaces; a comment from "#" to the end of a row is left out.

    Args:
        rows: their texts.
        line_of: for the errors.
        least: numbers that every row must have.

    Returns:
        numbers: ``n k``, k the longest row's length; shorter rows end in NaN.
        lengths: ``n``, of the rows.

    Raises:
        DatasetError: a row is too short, or holds what is no number; names line and word.
    """
    values = np.empty((0, 0 if rows else least))
    with warnings.catch_warnings(), suppress(ValueError):  # which the careful way below finds again, with its line
        warnings.simplefilter("ignore", UserWarning)
        values = np.loadtxt(rows, dtype=np.float64, ndmin=2) if rows else values
    if len(values) == len(rows) and values.shape[1] >= least:
        return values, np.full(len(rows), values.shape[1])
    split = [_NOT_FINITE.sub("nan", row).partition("#")[0].split() for row in rows]
    lengths = np.array([len(words) for words in split])
    values = np.full((len(rows), max(least, lengths.max(initial=0))), np.nan)
    for index, words in enumerate(split):
        if len(words) < least:
            raise DatasetError(f"line {line_of(index)}: {least} numbers are needed, and there are {len(words)}")
        for column, word in enumerate(words):
            values[index, column] = number(word, line_of(index))
    return values, lengths


def listed_numbers(rows: Sequence[str], line_of: LineOf) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read rows of any numbers of numbers.

    Returns:
        numbers: of all rows, one after the other.
        lengths: ``n``, of the rows.

    Raises:
        DatasetError: a row holds what is no number; names line and word.
    """
    lengths = np.array([len(row.split()) for row in rows], dtype=np.int64)
    found = spaced_numbers(" ".join(rows))
    if found is not None and len(found) == lengths.sum():
        return found, lengths
    values = [number(word, line_of(index)) for index, row in enumerate(rows) for word in row.split()]
    return np.array(values, dtype=np.float64), lengths


def spaced_numbers(text: str) -> NDArray[np.float64] | None:
    """Read numbers with white space between them; None if there is something else."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.fromstring(text, sep=" ", dtype=np.float64)
        except (ValueError, DeprecationWarning):
            return None


def number(word: str, line: int) -> float:
    """Read one number.

    Raises:
        DatasetError: it is none; names the line.
    """
    try:
        return float(word)
    except ValueError:
        pass
    if _COMMA.fullmatch(word):
        raise DatasetError(f"line {line}: {word!r} has a decimal comma; write numbers with a point")
    raise DatasetError(f"line {line}: {word[:40]!r} is no number")
