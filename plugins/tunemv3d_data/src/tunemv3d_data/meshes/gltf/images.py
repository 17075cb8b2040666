"""A glTF file's pictures and how textures are sampled."""

from functools import lru_cache

from tunemv3d_core.errors import DatasetError
from tunemv3d_data.meshes.gltf.buffers import Buffers, inside
from tunemv3d_data.meshes.gltf.document import Document, Image, Sampler, Texture
from tunemv3d_data.meshes.materials import Wrap
from tunemv3d_data.meshes.textures import Bytes, opened, pixels
from tunemv3d_data.notes import note

_READ = ("EXT_texture_webp", "EXT_texture_avif")
_UNREAD = {"KHR_texture_basisu": "KTX2", "MSFT_texture_dds": "DDS"}
_WRAPS: dict[int, Wrap] = {33071: "clamp", 33648: "mirror", 10497: "repeat"}
_NEAREST = 9728


class Images:
    """Reads a document's textures, each picture once."""

    def __init__(self, document: Document, buffers: Buffers) -> None:
        self.document, self.buffers = document, buffers
        self._pixels = lru_cache(maxsize=None)(self._read)

    def texture(self, index: int) -> Bytes | None:
        """Return a texture's picture, ``h w 4`` sRGB; None with a note where it cannot be shown."""
        texture = self.document.get(Texture, index)
        self.document.leave_out(texture, *_READ, *_UNREAD)
        given = [texture.extensions[name].get("source") for name in _READ if name in texture.extensions]
        for source in (*given, texture.source):
            if isinstance(source, int) and (found := self._pixels(source)) is not None:
                return found
        if not given and texture.source is None:
            format_ = next((_UNREAD[name] for name in _UNREAD if name in texture.extensions), None)
            said = "has no picture" if format_ is None else f"is {format_}, which is not read"
            note(
                "unreadable texture",
                f"texture {texture.name or f'number {index}'} {said}; the material's colour instead",
            )
        return None

    def file_name(self, index: int) -> str:
        """Return what a texture's picture is called, "" where it has no name."""
        source = self.document.get(Texture, index).source
        if source is None or source >= self.document.count(Image):
            return ""
        image = self.document.get(Image, source)
        return image.name or (image.uri if image.uri and not image.uri.startswith("data:") else "")

    def sampling(self, index: int) -> tuple[tuple[Wrap, Wrap], bool]:
        """Return how a texture is sampled: ``Material``'s ``wrap`` and ``smooth``."""
        sampler = self.document.get(Texture, index).sampler
        found = Sampler() if sampler is None else self.document.get(Sampler, sampler)
        return (_WRAPS[found.wrap_s], _WRAPS[found.wrap_t]), found.mag_filter != _NEAREST

    def _read(self, index: int) -> Bytes | None:
        image = self.document.get(Image, index)
        name = image.name or f"number {index}"
        if image.mime_type == "image/ktx2":
            note("unreadable texture", f"texture {name}: KTX2 is not read; the material's colour instead")
            return None
        if image.buffer_view is not None:
            data = bytes(self.buffers.view(image.buffer_view))
        elif image.uri is None:
            raise DatasetError(f"is not valid glTF: images[{index}] has neither a uri nor a buffer view")
        elif image.uri.startswith("data:"):
            data = inside(image.uri, f"images[{index}]")
        else:
            return self.document.neighbours.texture(image.uri)
        picture = opened(data, name)
        return None if picture is None else pixels(picture, name)
