"""Reading a mesh and what it refers to: files of one folder, or members of one archive, and nothing else.

Nothing is ever unpacked. A reference that leaves the folder or the archive, or that is an address of the network,
finds nothing, whatever it names.
"""

import hashlib
import posixpath
import re
import struct
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from urllib.parse import unquote

from tunemv3d_core.errors import DatasetError
from tunemv3d_core.io.json_files import parse
from tunemv3d_data.text import decoded

MAX_BYTES = 1 << 30
"""Size limit of one file or member; a larger one would not fit in memory as a mesh."""
MAX_VALUES = 5_000_000
"""Numbers, texts and blocks in the JSON of one glTF file."""
MAX_RATIO = 250
"""An archive that claims to hold more than this many times its own size is a bomb; meshes shrink by 3 to 20."""

_OPTIONS = re.compile(r"^(?:-[a-zA-Z]+\s+(?:(?:on|off|[-+.\d]+)\s+)*)+")
_REFERENCES = re.compile(r"^[ \t]*(mtllib|map_\w+|bump|disp|norm|refl)[ \t]+(.+?)[ \t]*$", re.MULTILINE)
_PLY_TEXTURES = re.compile(rb"^comment[ \t]+TextureFile[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE | re.IGNORECASE)
_BROKEN = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)


class Files(ABC):
    """Named files, the names relative and with slashes."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read a file's content.

        Raises:
            DatasetError: it is not there, outside, too large, or damaged.
        """

    @abstractmethod
    def spelled(self, name: str) -> str | None:
        """Return the name as it is spelled here, whatever its case; None if there is no such file."""

    def beside(self, mesh: str, reference: str) -> str | None:
        """Find the file that a mesh file means by a reference, or None.

        Many were written on other machines: backslashes, percent signs and another case are understood, and of a path
        that leads nowhere from here the last part is looked for beside the mesh.
        """
        as_written, reference = reference, reference.strip().strip('"')
        if "://" in reference or reference.lower().startswith(("file:", "data:", "http:", "https:")):
            return None
        folder = posixpath.dirname(mesh)
        for text in dict.fromkeys((as_written, reference, unquote(reference), _OPTIONS.sub("", reference))):
            path = text.replace("\\", "/")
            for place in (path, posixpath.basename(path)):
                name = posixpath.normpath(posixpath.join(folder, place))
                is_inside = not name.startswith(("/", "../")) and name not in ("..", ".")
                if is_inside and not re.match(r"[a-zA-Z]:", place) and (found := self.spelled(name)):
                    return found
        return None


class Folder(Files):
    """The files below a folder; links that lead out of it are not followed."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def read(self, name: str) -> bytes:  # noqa: D102
        path = self.root / name
        try:
            if not path.resolve().is_relative_to(self.root):
                raise DatasetError("is a link that leads out of the source; copy the file, or give its own folder")
            if path.exists() and not path.is_file():  # a pipe would never end
                raise DatasetError("is no plain file")
            if path.stat().st_size > MAX_BYTES:
                raise DatasetError(f"is larger than {MAX_BYTES >> 20} MiB")
            return path.read_bytes()
        except OSError as error:
            raise DatasetError(f"cannot be read: {error.strerror}") from None
        except RuntimeError:  # Path.resolve, of links that go round
            raise DatasetError("is a link that leads to itself") from None

    def spelled(self, name: str) -> str | None:  # noqa: D102
        path = self.root / name
        try:
            if not path.is_file():
                wanted = path.name.lower()
                near = path.parent.iterdir() if path.parent.is_dir() else ()
                path = min(other for other in near if other.name.lower() == wanted and other.is_file())
            inside = path.resolve().is_relative_to(self.root)
        except (OSError, ValueError):  # none of that name, or no name that a disk could hold
            return None
        return path.relative_to(self.root).as_posix() if inside else None


class Archive(Files):
    """The members of a zip.

    Raises:
        DatasetError: no zip, cut off, with members that would leave the folder of whoever unpacks it, or a bomb.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.zip = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise DatasetError(f"{path}: not a readable zip: {error}") from None
        total = sum(info.file_size for info in self.zip.infolist())
        if total > MAX_RATIO * max(path.stat().st_size, 1 << 20):
            raise DatasetError(f"{path}: claims to hold {total >> 20} MiB in {path.stat().st_size >> 10} KiB; refused")
        for name in self.names:
            parts = name.replace("\\", "/").split("/")
            if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
                raise DatasetError(f"{path}: the member {name!r} leaves the archive; refused")

    @property
    def names(self) -> list[str]:
        """All members, folders left out."""
        return [info.filename for info in self.zip.infolist() if not info.is_dir()]

    @cached_property
    def _spelling(self) -> dict[str, str]:
        return {name.lower(): name for name in reversed(self.names)}

    def read(self, name: str) -> bytes:  # noqa: D102
        try:
            info = self.zip.getinfo(name)
        except KeyError:
            raise DatasetError("there is no such member") from None
        if info.flag_bits & 1:
            raise DatasetError("is encrypted; unpack it with its password first")
        if info.file_size > MAX_BYTES:
            raise DatasetError(f"is larger than {MAX_BYTES >> 20} MiB")
        try:
            return self.zip.read(info)
        except _BROKEN as error:
            raise DatasetError(f"is damaged: {error}") from None

    def spelled(self, name: str) -> str | None:  # noqa: D102
        return name if name in self.zip.NameToInfo else self._spelling.get(name.lower())


def open_archive(path: Path) -> Archive:
    """Open an archive, kept open for the next of its members."""
    try:
        state = path.stat()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read: {error.strerror}") from None
    return _opened(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _opened(path: Path, changed: int, size: int) -> Archive:
    return Archive(path)


def digest(files: Files, mesh: str) -> str:
    """Hash (sha256) a mesh file with its materials and textures where they are files of their own."""
    total = hashlib.sha256()
    waiting, seen = [mesh], {mesh}
    while waiting:
        name = waiting.pop(0)
        data = files.read(name)
        total.update(f"{posixpath.relpath(name, posixpath.dirname(mesh) or '.')}\0{len(data)}\0".encode())
        total.update(data)
        found = {other for text in _references(name, data) if (other := files.beside(name, text))}
        waiting += sorted(found - seen)
        seen |= found
    return total.hexdigest()


def _references(name: str, data: bytes) -> Iterator[str]:
    """List what a mesh or material file refers to."""
    suffix = posixpath.splitext(name)[1].lower()
    if suffix in (".obj", ".mtl"):
        for statement, named in _REFERENCES.findall(decoded(data)):
            yield named
            yield from named.split() if statement == "mtllib" else ()  # several files on one line
    elif suffix == ".ply":
        yield from (named.decode("utf-8", "replace") for named in _PLY_TEXTURES.findall(data[:65536]))
    elif suffix in (".gltf", ".glb"):
        try:
            header, _ = gltf_parts(data)
        except DatasetError:
            return
        entries = (*header.get("buffers", ()), *header.get("images", ()))
        yield from (str(entry["uri"]) for entry in entries if isinstance(entry, dict) and "uri" in entry)


def gltf_parts(data: bytes) -> tuple[dict[str, list[dict[str, object]]], bytes]:
    """Read the JSON of a .gltf or .glb file, and a .glb's binary part.

    Raises:
        DatasetError: neither, or cut off.
    """
    text, binary = data, b""
    if data[:4] == b"glTF":
        if data[4:8] == b"\x01\0\0\0":
            raise DatasetError("is glTF 1.0, which is not read; convert it to glTF 2.0")
        if len(data) < 20 or struct.unpack_from("<I", data, 8)[0] > len(data):
            raise DatasetError("is cut off: shorter than its header says")
        length, kind = struct.unpack_from("<I4s", data, 12)
        if kind != b"JSON":
            raise DatasetError("holds no readable glTF: its first part is not JSON")
        text, binary = data[20 : 20 + length], data[28 + length :]
    try:
        if text.count(b",") > MAX_VALUES:  # what is long are texts, which may hold whole buffers
            raise ValueError(f"it holds more than {MAX_VALUES:,} values")
        header = parse(text)
    except ValueError as error:
        raise DatasetError(f"holds no readable glTF: its JSON is damaged ({error})") from None
    if not isinstance(header, dict):
        raise DatasetError("holds no readable glTF")
    return header, binary
