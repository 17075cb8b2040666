"""Strangers' pictures: only pixels, only plain files, only so many of them."""

import os
import re
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tunemv3d_core.io.pictures import FORMATS, open_picture

ROOT = Path(__file__).parents[2]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) (w) file closefile showpage\n%%EOF\n"


def encoded(kind: str, size: tuple[int, int] = (7, 5)) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_pictures_of_every_format_are_as_pillow_reads_them(kind: str, tmp_path: Path) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow knows no {kind}")
    data = encoded(kind)
    path = tmp_path / "picture.bin"
    path.write_bytes(data)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    for source in (data, path):
        with open_picture(source) as image:
            assert np.array_equal(np.asarray(image.convert("RGB")), expected)


@pytest.mark.parametrize("name", ["picture.png", "picture.eps"])
def test_postscript_is_no_picture_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(POSTSCRIPT)
    assert Image.open(path).format == "EPS", "Pillow alone would take it"
    for source in (path, POSTSCRIPT):
        with pytest.raises(OSError, match="cannot identify"):
            open_picture(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match="no plain file"):
            open_picture(path)
    with pytest.raises(FileNotFoundError):
        open_picture(tmp_path / "nothing.png")


def test_a_header_that_promises_too_many_pixels_is_refused() -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(OSError, match="pixels"):
        open_picture(bomb)
    with pytest.raises(OSError, match="7 x 5 pixels are more than 34"):
        open_picture(encoded("PNG"), max_pixels=34)
    open_picture(encoded("PNG"), max_pixels=35)


def test_a_part_that_claims_gigabytes_is_refused_where_there_is_no_room(tmp_path: Path) -> None:
    whole = encoded("PNG")
    at = whole.index(b"IDAT") - 4
    (tmp_path / "small.png").write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    code = """if True:
        import resource, sys
        from pathlib import Path
        from tunemv3d_core.io.pictures import open_picture
        image = open_picture(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        try:
            image.load()
        except OSError as error:
            print(error)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "small.png")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.stdout == "there is no memory for what it claims to hold\n", ended


def test_nothing_else_opens_pictures() -> None:
    sources = [path for pattern in ("tunemv3d_*/src", "plugins/*/src") for path in ROOT.glob(f"{pattern}/**/*.py")]
    found = [path.name for path in sources if re.search(r"\bImage\.open\(", path.read_text(encoding="utf-8"))]
    assert found == ["pictures.py"]


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_pictures_are_nothing_but_os_errors(data: st.DataObject) -> None:
    whole = encoded(data.draw(st.sampled_from(["PNG", "TIFF", "GIF", "DDS", "BMP", "TGA", "PPM", "WEBP"])))
    found = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(found) - 1))
        found[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    try:
        with open_picture(bytes(found)) as image:
            image.convert("RGBA")
    except OSError:
        pass
