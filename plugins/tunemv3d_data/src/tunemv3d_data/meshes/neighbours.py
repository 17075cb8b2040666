"""The files beside a mesh: its materials and textures, each read once, and noted where it is missing."""

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.files import Files
from tunemv3d_data.meshes.textures import Bytes, opened, pixels
from tunemv3d_data.notes import Kind, note


class Neighbours:
    """Finds what a mesh file refers to.

    Args:
        files: among which it is looked for.
        mesh: the mesh file's name there.
    """

    def __init__(self, files: Files, mesh: str) -> None:
        self.files, self.mesh = files, mesh
        self._textures: dict[str, Bytes | None] = {}

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        return self.files.beside(self.mesh, name) is not None

    def read(self, name: str, kind: Kind = "missing file") -> bytes | None:
        """Read a file; None with a note of this kind if it is missing or cannot be read."""
        found = self.files.beside(self.mesh, name)
        if found is None:
            note(kind, f"{name} is missing, or lies outside the source")
            return None
        try:
            return self.files.read(found)
        except DatasetError as error:
            note(kind, f"{name} {error}")
            return None

    def texture(self, name: str) -> Bytes | None:
        """Read a texture ``h w 4``; None with a note if it is missing or cannot be shown."""
        if name not in self._textures:
            data = self.read(name, "missing texture")
            image = None if data is None else opened(data, name)
            self._textures[name] = None if image is None else pixels(image, name)
        return self._textures[name]
