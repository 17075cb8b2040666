"""Pictures, animations and meshes as text that a page carries, each checked before it is taken."""

import base64
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tunemv3d_core.foreign_text import shown
from tunemv3d_core.io.file_names import leading_out
from tunemv3d_core.io.generated import save_picture
from tunemv3d_core.io.json_files import read_plain
from tunemv3d_core.io.pictures import open_picture
from tunemv3d_show import compact as reduced
from tunemv3d_show.gather import Sampled
from tunemv3d_show.poster import poster

QUALITY = 90
"""Quality of still pictures that are larger than ``SMALL``; they become WebP."""

SMALL = 256
"""Pictures up to this side, pixels, keep every bit: their colours would bleed."""

MAX_FILE = 2**29
"""Bytes of a mesh or video that a page embeds."""

THUMBNAIL = 64
"""Side of the list's pictures, pixels."""

KINDS = {
    "strip": "the shape appearing, step by step",
    "strip_animation": "the shape appearing",
    "turntable": "one turn around the field: decoded, and its bare surface",
    "mesh": "the mesh",
}
"""Single files of a sampled object, and what they show."""


@dataclass(frozen=True)
class Medium:
    """File as a page embeds it.

    Attributes:
        kind: "view", or of ``KINDS``.
        label: what it shows, for people who do not see it.
        type: MIME type.
        data: base 64, of a mesh that of its gzip; "" where it could not be read.
        size: (width, height) of a picture, pixels.
        poster: of a mesh, base 64 of a WebP picture; "" where none could be drawn.
        fault: why it could not be read.
    """

    kind: str
    label: str
    type: str = ""
    data: str = ""
    size: tuple[int, int] = (1, 1)
    poster: str = ""
    fault: str = ""


def media_of(entry: Sampled, compact: bool = False) -> Iterator[Medium]:
    """An object's views, then whatever else its manifest names; what is missing or damaged says so.

    Args:
        entry: the object.
        compact: whether they are to be small rather than exact.
    """
    names = entry.files
    views = names.get("views")
    for index, name in enumerate(views if isinstance(views, list) else []):
        yield _medium("view", f"{entry.prompt}, view {index}", entry.folder / str(name), compact, entry.folder)
    for kind, label in KINDS.items():
        if kind in names and not (compact and kind in reduced.LEFT_OUT):
            file = entry.folder / str(names[kind])
            yield _medium(kind, f"{entry.prompt}: {label}", file, compact, entry.folder)


def still(kind: str, label: str, path: Path, compact: bool = False) -> Medium:
    """A picture that stands for itself, such as a run's preview."""
    return _medium(kind, label, path, compact, path.parent)


def thumbnail(entry: Sampled) -> str:
    """The first view that can be read, small, as a data URI; "" where there is none."""
    views = entry.files.get("views")
    for name in views if isinstance(views, list) else []:
        try:
            with open_picture(_own(entry.folder, entry.folder / str(name))) as picture:
                picture.load()
                picture.thumbnail((THUMBNAIL, THUMBNAIL))
                return f"data:image/webp;base64,{_webp(picture)}"
        except (OSError, ValueError, SyntaxError):
            continue
    return ""


def _own(folder: Path, path: Path) -> Path:
    """Return a path that a manifest names.

    Raises:
        OSError: it is not in the manifest's folder: a page that is passed on must not hold other pictures.
    """
    if leading_out(folder, [path]):
        raise OSError("it lies outside its object's folder, or is a link that leads out of it")
    return path


def _medium(kind: str, label: str, path: Path, compact: bool, folder: Path) -> Medium:
    name = shown(path.name)
    try:
        _own(folder, path)
        content: dict[str, Any] = _mesh(path, compact) if kind == "mesh" else _picture(path, kind if compact else "")
    except FileNotFoundError:
        return Medium(kind, label, fault=f"{name} is missing")
    except (OSError, ValueError, SyntaxError) as error:
        return Medium(kind, label, fault=f"{name} cannot be read: {error}".replace(str(path), name))
    return Medium(kind, label, **content)


def _mesh(path: Path, compact: bool) -> dict[str, Any]:
    """A GLB whose head is right and whose length is what the head says, packed by gzip."""
    data = read_plain(path, MAX_FILE)
    if data[:4] != b"glTF" or int.from_bytes(data[8:12], "little") != len(data):
        raise ValueError("no whole GLB file")
    try:
        still = _text(poster(data))
    except ValueError:
        # Another program's mesh may turn all the same.
        still = ""
    small = reduced.small_mesh(data) if compact else data
    return {"type": "model/gltf-binary", "data": _text(gzip.compress(small, mtime=0)), "poster": still}


def _picture(path: Path, small: str) -> dict[str, Any]:
    """Stills become WebP; what moves is taken as it is, once every frame could be read.

    Args:
        path: the file.
        small: the kind as which it is reduced; "" for not at all.
    """
    if path.suffix == ".mp4":
        data = read_plain(path, MAX_FILE)
        if data[4:8] != b"ftyp":
            raise ValueError("no MP4 file")
        return {"type": "video/mp4", "data": _text(data), "size": (2, 1)}
    with open_picture(path) as picture:
        frames = getattr(picture, "n_frames", 1)
        for index in range(frames):
            picture.seek(index)
            picture.load()
        if small:
            data = (reduced.small_animation if frames > 1 else reduced.small_picture)(picture, small)
            return {"type": "image/webp", "data": _text(data), "size": picture.size}
        if frames > 1:
            return {"type": Image.MIME[picture.format or ""], "data": _text(path.read_bytes()), "size": picture.size}
        return {"type": "image/webp", "data": _webp(picture), "size": picture.size}


def _webp(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    mode = "RGBA" if "A" in picture.getbands() or "transparency" in picture.info else "RGB"
    xmp = picture.info.get("xmp", b"")
    save_picture(picture.convert(mode), buffer, xmp, "WEBP", quality=QUALITY, lossless=max(picture.size) <= SMALL)
    return _text(buffer.getvalue())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
