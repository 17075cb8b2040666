"""The one opener of picture files: formats that are pixels and nothing else, plain files, bounded sizes."""

import stat
import warnings
from collections.abc import Callable
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "WEBP", "JPEG", "TIFF", "BMP", "GIF", "DDS", "JPEG2000", "AVIF", "PPM", "TGA")
"""Formats that are read, in the order in which they are tried. PostScript, which Pillow has run by Ghostscript, is none
of them, whatever a file is called."""

MAX_PIXELS = 16_384 * 16_384
MAX_BYTES = 2**30


def open_picture(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a picture without decoding it.

    Args:
        source: the file, or its content.
        max_pixels: width times height at most.

    Raises:
        FileNotFoundError: no such file.
        OSError: no plain file, of no format in ``FORMATS``, or too large. Decoding it raises ``OSError`` alone.
    """
    if isinstance(source, Path):
        try:
            about = source.stat()
        except ValueError as error:  # a name that no disk could hold
            raise OSError(str(error)) from None
        if not stat.S_ISREG(about.st_mode):
            raise OSError("it is no plain file")
        size = about.st_size
    else:
        size = len(source)
    if size > MAX_BYTES:
        raise OSError(f"{size} bytes are more than {MAX_BYTES}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            Image.init()
            known = [name for name in FORMATS if name in Image.OPEN]  # not every build of Pillow has all
            image = Image.open(BytesIO(source) if isinstance(source, bytes) else source, formats=known)
    except Image.DecompressionBombError as error:
        raise OSError(str(error)) from None
    except UnidentifiedImageError:
        raise UnidentifiedImageError(f"cannot identify it as one of {', '.join(FORMATS)}") from None
    except OSError:
        raise
    except Exception as error:
        raise UnidentifiedImageError(str(error)) from None
    if image.width * image.height > max_pixels:
        image.close()
        raise OSError(f"{image.width} x {image.height} pixels are more than {max_pixels}")
    for name in ("load", "seek"):
        setattr(image, name, _refusing(getattr(image, name)))
    return image


def _refusing(work: Callable[..., Any]) -> Callable[..., Any]:
    """Turn whatever a reader of some format raises on damaged bytes into an ``OSError``."""

    @wraps(work)
    def refusing(*arguments: Any, **options: Any) -> Any:
        try:
            return work(*arguments, **options)
        except (OSError, EOFError):  # EOFError: no such frame
            raise
        except MemoryError:  # a hundred bytes may claim a part of gigabytes
            raise OSError("there is no memory for what it claims to hold") from None
        except Exception as error:
            raise OSError(f"damaged: {type(error).__name__}: {error}") from error

    return refusing
